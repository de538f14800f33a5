/* The form of a schedule: only the fields that its rule needs, and a preview that follows. */
(function () {
    "use strict";

    const { one, all, apply } = window.qorworker;

    const form = one("form[data-qw-preview]");
    if (!form) return;
    const needs = {
        every: ["number", "unit"],
        daily: ["time"],
        weekly: ["days", "time"],
        monthly: ["day", "time"],
        cron: ["expression"],
        once: ["at_0"],
    };
    const row = (name) => {
        const input = one(`[name="qw-${name}"]`, form);
        return input && input.closest(".qw-row");
    };
    const place = one("#qw-preview", form);
    let timer = 0;
    let newest = 0;

    function shape() {
        const chosen = one('input[name="qw-shape"]:checked', form);
        if (!chosen) return;
        new Set(Object.values(needs).flat()).forEach((name) => {
            if (row(name)) row(name).hidden = !needs[chosen.value].includes(name);
        });
    }

    async function preview() {
        const number = ++newest;
        const data = new FormData();
        for (const [name, value] of new FormData(form)) {
            if (name.startsWith("qw-") || name === "csrfmiddlewaretoken") data.append(name, value);
        }
        place.setAttribute("aria-busy", "true");
        try {
            const options = { method: "POST", body: data, credentials: "same-origin" };
            const answer = await fetch(form.dataset.qwPreview, options);
            if (answer.ok && number === newest) apply(await answer.json());
        } catch {
            // The button is still there.
        }
        place.removeAttribute("aria-busy");
    }

    function later() {
        clearTimeout(timer);
        timer = setTimeout(preview, 400);
    }

    function offerOwnZone() {
        const choice = one('select[name="qw-zone"]', form);
        const likely = choice && one("optgroup", choice);
        const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
        if (!likely || !all("option", choice).some((option) => option.value === name)) return;
        if (!all("option", likely).some((option) => option.value === name)) likely.prepend(new Option(name, name));
    }

    form.addEventListener("change", shape);
    ["input", "change", "focusin"].forEach((kind) => form.addEventListener(kind, (event) => {
        if (event.target.name && event.target.name.startsWith("qw-")) later(); // pickers only move the focus
    }));
    window.addEventListener("pageshow", shape);
    all('input[name="qw-preview"]', form).forEach((button) => { button.hidden = true; });
    offerOwnZone();
    shape();
    later();
})();
