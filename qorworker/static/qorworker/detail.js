/* The page of a job. */
(function () {
    "use strict";

    const { one, all, shortcut, texts } = window.qorworker;
    const page = one(".qw-job");
    const log = one("#qw-lines");
    const follow = one("#qw-follow");
    const KEPT = 5000; // lines of the log in the page

    // What a button copies: of a table its cells and the errors of a row behind them, none as a formula; else the text.
    const tidy = (text) => text.replace(/\s+/g, " ").trim();
    const harmless = (text) => (/^["\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(text) && isNaN(text) ? "'" + text : text);

    function cellsOf(row) {
        const errors = all(".qw-cell-error", row).map((error) => tidy(error.lastChild.textContent));
        const values = Array.from(row.cells, (cell) => {
            const error = one(".qw-cell-error", cell);
            return tidy(error ? cell.innerText.slice(0, -error.innerText.length) : cell.innerText);
        });
        return [...values, ...(errors.length ? [errors.join("; ")] : [])].map(harmless);
    }

    function copyOf(node) {
        if (node.rows) return Array.from(node.rows, (row) => cellsOf(row).join("\t")).join("\n");
        if (node !== log) return node.textContent;
        const textOf = (line) => Array.from(line.children, (part) => part.textContent).join(" ");
        return Array.from(log.children, textOf).join("\n");
    }

    page.addEventListener("click", async (event) => {
        const button = event.target.closest("[data-qw-copy]");
        if (!button) return;
        const node = document.getElementById(button.dataset.qwCopy);
        try {
            await navigator.clipboard.writeText(copyOf(node));
            button.textContent = texts.copied;
        } catch {
            // Not allowed here: selected, so that a key copies it.
            const folded = node.closest("details");
            if (folded) folded.open = true;
            getSelection().selectAllChildren(node);
        }
    });

    // The log shows its newest line until somebody scrolls up, and then says how many came since.
    let unseen = 0;
    const more = one("#qw-more");
    let own; // where this script has scrolled to, until the event of that comes in
    const toEnd = () => {
        log.scrollTop = log.scrollHeight;
        own = log.scrollTop;
    };

    function grew(number) {
        if (follow.checked) toEnd();
        unseen = follow.checked ? 0 : unseen + number;
        more.textContent = texts.newLines.replace("{}", unseen);
        more.hidden = !unseen;
    }

    function shorten() {
        while (log.childElementCount > KEPT) log.firstElementChild.remove();
        const earlier = one("#qw-earlier");
        const query = new URLSearchParams(location.search);
        query.set("before", log.firstElementChild.id.slice(1));
        earlier.href = "?" + query + "#log";
        earlier.textContent = texts.earlierLines;
        earlier.parentNode.hidden = false;
    }

    if (follow) {
        const wrap = one("#qw-wrap");
        const [, line] = location.hash.match(/^#L(\d+)$/) || [];
        if (line && !one(location.hash) && !location.search) {
            location.search = "?before=" + (Number(line) + KEPT / 10);
        }
        follow.checked = "qwLive" in page.dataset && !line;
        grew(0);
        if ("qwEnd" in log.dataset && !line) toEnd();
        follow.addEventListener("change", () => grew(0));
        more.addEventListener("click", () => {
            follow.checked = true;
            grew(0);
        });
        log.addEventListener("scroll", () => {
            const isOwn = log.scrollTop === own;
            own = undefined;
            if (isOwn) return; // else it would undo a key that was pressed before this event
            follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
            if (follow.checked) grew(0);
        });
        log.addEventListener("qw-append", (event) => {
            const nothing = one("[data-qw-nolog]");
            if (nothing) nothing.remove();
            [log, ...all("[data-qw-tools]")].forEach((element) => (element.hidden = false));
            if (follow.checked && log.childElementCount > KEPT) shorten();
            grew(event.detail);
        });
        wrap.addEventListener("change", () => log.classList.toggle("qw-unwrapped", !wrap.checked));
        shortcut("f", texts.follow, () => follow.click());
        shortcut("w", texts.wrap, () => wrap.click());
        shortcut("e", texts.nextError, () => {
            const errors = all('[data-level="error"], [data-level="critical"]', log);
            const next = errors[errors.indexOf(document.activeElement.parentNode) + 1] || errors[0];
            if (next) one("a", next).focus();
        });
    }

    // The clock of a running job ticks between two answers.
    const SECONDS = [86400, 3600, 60, 1];

    function tick() {
        const clock = one("[data-qw-clock]");
        if (!clock) return;
        clock.qwSince ??= Date.now() - 1000 * clock.dataset.qwClock;
        let rest = Math.floor((Date.now() - clock.qwSince) / 1000);
        const numbers = SECONDS.map((size) => {
            const number = Math.floor(rest / size);
            rest %= size;
            return number;
        });
        const first = numbers.findIndex(Boolean);
        if (first < 0) return;
        const shown = [first, first + 1].filter((place) => numbers[place]);
        clock.textContent = shown.map((place) => texts.units[place].replace("%d", numbers[place])).join(" ");
    }

    if ("qwLive" in page.dataset) setInterval(tick, 1000);
})();
