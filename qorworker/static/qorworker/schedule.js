/* The form of a schedule: only the fields that its rule needs, and a preview that follows. */
(function () {
    "use strict";

    const { one, all } = window.qorworker;

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
        return input && input.closest(".form-row");
    };
    const place = one("#qw-preview", form);
    let waiting = 0;
    let asked = 0;

    function shape() {
        const chosen = one('input[name="qw-shape"]:checked', form);
        if (!chosen) return;
        const all = new Set(Object.values(needs).flat());
        all.forEach((name) => { if (row(name)) row(name).hidden = !needs[chosen.value].includes(name); });
    }

    async function preview() {
        const number = ++asked;
        const data = new FormData();
        for (const [name, value] of new FormData(form)) {
            if (name.startsWith("qw-") || name === "csrfmiddlewaretoken") data.append(name, value);
        }
        place.setAttribute("aria-busy", "true");
        try {
            const answer = await fetch(form.dataset.qwPreview, { method: "POST", body: data, credentials: "same-origin" });
            if (answer.ok && number === asked) place.innerHTML = (await answer.json()).html; // escaped by the server
        } catch {
            // The button is still there.
        }
        place.removeAttribute("aria-busy");
    }

    function later() {
        clearTimeout(waiting);
        waiting = setTimeout(preview, 400);
    }

    form.addEventListener("change", shape);
    ["input", "change", "focusin"].forEach((kind) => form.addEventListener(kind, (event) => {
        if (event.target.name && event.target.name.startsWith("qw-")) later(); // pickers only move the focus
    }));
    window.addEventListener("pageshow", shape);
    all('input[name="qw-preview"]', form).forEach((button) => { button.hidden = true; });
    shape();
    later();
})();
