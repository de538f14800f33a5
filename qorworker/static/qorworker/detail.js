/* The page of a job. */
(function () {
    "use strict";

    const { one, all, live, shortcut } = window.qorworker;
    const page = one(".qw-job");
    const data = page.dataset;
    const log = one("#qw-lines");
    const follow = one("#qw-follow");
    const KEPT = 5000; // lines of the log in the page

    // What a button copies: a table as cells with the errors of a row behind them, none of them a formula; or as it reads.
    const tidy = (text) => text.replace(/\s+/g, " ").trim();
    const harmless = (text) => (/^[=+\-@]/.test(text) && isNaN(text) ? "'" + text : text);

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
        return Array.from(log.children, (line) => Array.from(line.children, (part) => part.textContent).join(" ")).join("\n");
    }

    page.addEventListener("click", async (event) => {
        const button = event.target.closest("[data-qw-copy]");
        if (!button) return;
        const node = document.getElementById(button.dataset.qwCopy);
        try {
            await navigator.clipboard.writeText(copyOf(node));
            button.textContent = data.qwCopied;
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
    const toEnd = () => (log.scrollTop = log.scrollHeight);

    function grew(number) {
        if (follow.checked) toEnd();
        unseen = follow.checked ? 0 : unseen + number;
        more.textContent = log.dataset.qwNew.replace("{}", unseen);
        more.hidden = !unseen;
    }

    if (follow) {
        const wrap = one("#qw-wrap");
        const keys = data.qwKeys.split("|");
        const [, line] = location.hash.match(/^#L(\d+)$/) || [];
        if (line && !one(location.hash) && !location.search) location.search = "?before=" + (Number(line) + KEPT / 10);
        follow.checked = Boolean(data.qwLive) && !line;
        grew(0);
        follow.addEventListener("change", () => grew(0));
        more.addEventListener("click", toEnd);
        log.addEventListener("scroll", () => {
            follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
            if (follow.checked) grew(0);
        });
        wrap.addEventListener("change", () => log.classList.toggle("qw-unwrapped", !wrap.checked));
        shortcut("f", keys[0], () => follow.click());
        shortcut("w", keys[1], () => wrap.click());
        shortcut("e", keys[2], () => {
            const errors = all('[data-level="error"], [data-level="critical"]', log);
            const next = errors[errors.indexOf(document.activeElement.parentNode) + 1] || errors[0];
            if (next) one("a", next).focus();
        });
    }
    if (!data.qwLive) return;

    const began = Date.now();

    function pause() {
        const minutes = (Date.now() - began) / 60000;
        return minutes < 1 ? 1000 : minutes < 10 ? 2000 : 5000;
    }

    function address() {
        const asked = new URLSearchParams(location.search);
        asked.set("state", data.qwState);
        asked.set("after", data.qwAfter);
        asked.set("results", data.qwResults);
        return data.qwLive + "?" + asked;
    }

    // Somebody works, reads or marks text in a part: it is left alone until later.
    function isInUse(part) {
        const marked = getSelection();
        const hasFocus = part !== document.activeElement && part.contains(document.activeElement);
        const isMarked = !marked.isCollapsed && marked.containsNode(part, true);
        return hasFocus || isMarked || one("details[open]:not([data-qw-open])", part);
    }

    // Whether everything could be shown.
    function apply(news) {
        let complete = true;
        Object.entries(news.parts).forEach(([name, html]) => {
            const part = document.getElementById("qw-" + name);
            if (!part) return;
            if (isInUse(part)) complete = false;
            else part.innerHTML = html; // rendered and escaped by the server, as the lines are
        });
        if (log && news.count) addLines(news);
        data.qwAfter = news.last;
        if (complete) {
            data.qwState = news.state;
            data.qwResults = news.results;
        }
        one("[data-qw-told]").textContent = news.told;
        return complete;
    }

    function addLines(news) {
        const nothing = one("[data-qw-nolog]");
        if (nothing) nothing.remove();
        [log, ...all("[data-qw-tools]")].forEach((element) => (element.hidden = false));
        log.insertAdjacentHTML("beforeend", news.lines);
        one("[data-qw-lines]").textContent = news.last.toLocaleString(document.documentElement.lang);
        if (follow.checked && log.childElementCount > KEPT) {
            while (log.childElementCount > KEPT) log.firstElementChild.remove();
            const earlier = one("#qw-earlier");
            const asked = new URLSearchParams(location.search);
            asked.set("before", log.firstElementChild.id.slice(1));
            earlier.href = "?" + asked + "#log";
            earlier.textContent = log.dataset.qwEarlier;
            earlier.parentNode.hidden = false;
        }
        grew(news.count);
    }

    // The clock of a running job ticks between two answers.
    setInterval(() => {
        const clock = one("[data-qw-clock]");
        if (!clock) return;
        clock.qwSince ??= Date.now() - 1000 * clock.dataset.qwClock;
        let rest = Math.floor((Date.now() - clock.qwSince) / 1000);
        const told = data.qwUnits.split("|").map((unit, place) => {
            const size = [86400, 3600, 60, 1][place];
            const number = Math.floor(rest / size);
            rest %= size;
            return number ? unit.replace("%d", number) : "";
        });
        const first = told.findIndex(Boolean);
        if (first >= 0) clock.textContent = told.slice(first, first + 2).filter(Boolean).join(" ");
    }, 1000);
    live({ address, apply, pause });
})();
