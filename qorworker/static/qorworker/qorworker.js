/* Makes the pages livelier; everything works without it. No dependency, no inline code, text only ever as text. */
(function () {
    "use strict";

    const one = (selector, root = document) => root.querySelector(selector);
    const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
    const make = (tag, text, className) => {
        const element = document.createElement(tag);
        if (text) element.textContent = text;
        if (className) element.className = className;
        return element;
    };
    // What scripts say, in the language of the page: the same on all pages, and what only this one says.
    const textsIn = (element) => (element ? JSON.parse(element.textContent) : {});
    const texts = { ...textsIn(one("#qw-texts")), ...textsIn(one("#qw-page-texts")) };

    // What this browser remembers; nothing, where that is forbidden. With a value it is remembered from now on.
    function memory(name, value) {
        try {
            if (value !== undefined) localStorage.setItem("qorworker." + name, value);
            return localStorage.getItem("qorworker." + name) || "";
        } catch {
            return "";
        }
    }

    // A form that asks first: the question as a dialog, answered by a form of its own.
    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (!form.dataset.qwAsk || !window.HTMLDialogElement) return;
        event.preventDefault();
        ask(form);
    });

    function ask(form) {
        const dialog = make("dialog", "", "qw qw-dialog");
        const title = make("h2", form.dataset.qwAsk);
        title.id = "qw-dialog-title";
        dialog.setAttribute("aria-labelledby", title.id);
        const answer = form.cloneNode(true);
        delete answer.dataset.qwAsk;
        answer.className = "qw-buttons";
        const confirmed = make("input");
        confirmed.type = "hidden";
        confirmed.name = "confirmed";
        confirmed.value = "1";
        const back = make("button", texts.back, "button");
        back.type = "button";
        back.addEventListener("click", () => dialog.close());
        const yes = one("button[type=submit]", answer);
        yes.textContent = yes.textContent.replace("…", "");
        answer.append(confirmed, back);
        dialog.append(title);
        if (form.dataset.qwWarning) dialog.append(make("p", form.dataset.qwWarning));
        dialog.append(answer);
        dialog.addEventListener("close", () => dialog.remove());
        document.body.append(dialog);
        dialog.showModal();
        back.focus();
    }

    // Whether a box that scrolls sideways has more to its right: its edge fades then.
    function hint(box) {
        box.toggleAttribute("data-qw-more", box.scrollWidth - box.clientWidth - Math.abs(box.scrollLeft) > 2);
    }

    // The tab that is open, in a row of tabs that is wider than the page.
    all(".qw-tabs [aria-current]").forEach((tab) => {
        const [own, row] = [tab, tab.closest("ul")].map((element) => element.getBoundingClientRect());
        tab.closest("ul").scrollLeft += own.left + own.width / 2 - row.left - row.width / 2;
    });

    const hints = () => all(".qw-scroll, .qw-list .results, .qw-tabs > ul").forEach(hint);
    document.addEventListener("scroll", (event) => event.target !== document && hint(event.target), true);
    window.addEventListener("resize", hints);
    hints();

    all("[data-qw-focus]").forEach((element) => element.focus());
    all("[data-qw-submit]").forEach((select) => select.addEventListener("change", () => select.form.submit()));

    // Keys that take one somewhere: none changes anything by itself.
    const keys = new Map();
    const help = one("#qw-shortcuts");
    window.qorworker = { one, all, make, hints, memory, shortcut, texts };
    if (!help) return; // a page that Django makes, without our frame
    const isOn = one("input", help);
    let before = "";

    /* Does `action` when `key` is pressed, or its keys one after another if it has a space. The help shows `text`. */
    function shortcut(key, text, action) {
        if (!keys.has(key)) {
            const row = make("tr");
            const name = row.appendChild(make("th"));
            key.split(" ").forEach((each) => name.append(make("kbd", each), " "));
            row.append(make("td", text));
            one("table", help).append(row);
        }
        keys.set(key, action);
    }

    document.addEventListener("keydown", (event) => {
        const isBusy = event.target.closest("input, select, textarea, [contenteditable], dialog[open]");
        if (isBusy || !isOn.checked || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
        const key = before + event.key;
        const begins = [...keys.keys()].some((known) => known.startsWith(key + " "));
        before = begins ? key + " " : "";
        if (!keys.has(key)) return;
        event.preventDefault();
        keys.get(key)();
    });

    const openHelp = () => help.showModal();
    isOn.checked = memory("keys") !== "off";
    isOn.addEventListener("change", () => memory("keys", isOn.checked ? "on" : "off"));
    one("#qw-help").hidden = false;
    one("#qw-help").addEventListener("click", openHelp);
    shortcut("?", texts.help, openHelp);
    if (one(".qw input[type=search], #searchbar")) {
        shortcut("/", texts.search, () => one(".qw input[type=search], #searchbar").focus());
    }
    all("[data-qw-key]").forEach((link) => shortcut(link.dataset.qwKey, link.textContent, () => link.click()));
    shortcut("r", texts.refresh, () => location.reload());
})();
