/* The catalogue narrows while one types. */
(function () {
    "use strict";

    const { one, all, texts } = window.qorworker;
    const query = one("#qw-q");
    if (!query) return;
    const count = one("[data-qw-count]");
    const narrow = () => {
        const text = query.value.trim().toLowerCase().replace(/\s+/g, " ");
        let shown = 0;
        all("[data-qw-group]").forEach((group) => {
            const found = all("[data-qw-text]", group).filter((entry) => {
                entry.hidden = !entry.dataset.qwText.includes(text);
                return !entry.hidden;
            });
            group.hidden = !found.length;
            shown += found.length;
        });
        all("[data-qw-idle]").forEach((section) => (section.hidden = Boolean(text)));
        count.textContent = !text ? "" : shown ? texts.shown.replace("{}", shown) : texts.nothing;
    };
    query.addEventListener("input", narrow);
    if (query.value !== query.defaultValue) narrow(); // the browser has filled in what was typed before
})();
