/* The run form: one submit; the time only where it is needed; the button says what will happen. */
(function () {
    "use strict";

    const { one, all, texts } = window.qorworker;

    all("form[data-qw-once]").forEach((form) => {
        form.addEventListener("submit", (event) => {
            if (form.dataset.qwSent) event.preventDefault();
            form.dataset.qwSent = "1";
        });
        window.addEventListener("pageshow", () => delete form.dataset.qwSent);
        const radios = all('input[name="qw-when"]', form);
        const [date, clock] = ["qw-at_0", "qw-at_1"].map((name) => one(`input[name="${name}"]`, form));
        const submit = one("[data-qw-later]", form);
        if (!radios.length || !date || !clock) return;
        const which = one('input[name="qw-which"]', form); // asked for where clocks show a time twice
        // Not by its class: an argument may be called "at" too.
        const time = date.closest(".qw-row");
        // Clocks in the zone of the form, as Django's own pickers read and write them.
        const isNear = () => {
            const day = date.value.strptime(window.get_format("DATE_INPUT_FORMATS")[0]);
            const [hours, minutes, seconds] = clock.value.split(":").map(Number);
            const wall = Date.now() / 1000 + Number(document.body.dataset.adminUtcOffset);
            const chosen = day / 1000 + hours * 3600 + minutes * 60 + (seconds || 0);
            return chosen <= wall || chosen < wall + texts.near;
        };
        const rows = which ? [time, which.closest(".qw-row")] : [time];
        const follow = () => {
            const later = radios.some((radio) => radio.checked && radio.value === "later");
            const moment = date.value && clock.value ? `${date.value} ${clock.value}` : "";
            rows.forEach((row) => (row.hidden = !later));
            if (!later || (moment && isNear())) submit.value = texts.now;
            else submit.value = moment ? texts.at.replace("{}", moment) : texts.later;
        };
        form.addEventListener("change", follow);
        ["input", "focusin"].forEach((kind) => time.addEventListener(kind, follow)); // pickers only move the focus
        window.addEventListener("pageshow", follow);
        window.setInterval(follow, 5000); // a time comes near while one reads
        follow();
    });
})();
