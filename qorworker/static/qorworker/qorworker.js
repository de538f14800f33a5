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
    const texts = (one("#qw-frame") || make("div")).dataset;

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
        const back = make("button", texts.qwBack, "button");
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

    const hints = () => all(".qw-scroll, .qw-list .results, .qw-tabs > ul").forEach(hint);
    document.addEventListener("scroll", (event) => event.target !== document && hint(event.target), true);
    window.addEventListener("resize", hints);
    hints();

    all("[data-qw-focus]").forEach((element) => element.focus());
    all("[data-qw-submit]").forEach((select) => select.addEventListener("change", () => select.form.submit()));

    // The line under the navigation that tells why nothing new comes, and what can be done about it.
    function say(text = "", offer = "", action = null) {
        const line = one("#qw-trouble");
        line.hidden = !text;
        line.textContent = text + " ";
        if (!offer) return;
        const button = make("button", offer, "qw-link");
        button.type = "button";
        button.addEventListener("click", action);
        line.append(button);
    }

    const reload = () => location.reload();
    let refresh = reload;
    let toggle = null;

    /* Asks for news until told that nothing more will come: `address()` is the URL, `apply(news)` shows the answer and says
       whether all of it could be shown, `pause()` gives the milliseconds until the next question, unless a person chose
       another pace. Off while the tab is hidden; on trouble it waits twice as long each time, up to a minute. */
    function live({ address, apply, pause }) {
        const control = one("#qw-live");
        const pace = one("select", control);
        let tag = "";
        let failures = 0;
        let timer = 0;
        let done = false;
        let busy = false;

        async function poll(asked) {
            clearTimeout(timer);
            timer = 0;
            if (document.hidden || done || busy || (pace.value === "0" && asked !== true)) return;
            let wait = pace.value ? 1000 * pace.value : pause();
            busy = true;
            try {
                const answer = await fetch(address(), {
                    headers: tag ? { "If-None-Match": tag } : {},
                    redirect: "manual",
                    cache: "no-store",
                    credentials: "same-origin",
                });
                if (answer.type === "opaqueredirect" || answer.status === 401) {
                    end();
                    say(texts.qwSignedOut, texts.qwSignIn, reload);
                    return;
                }
                if ([403, 404].includes(answer.status)) {
                    end();
                    say(texts.qwGone, texts.qwReload, reload);
                    return;
                }
                if (answer.status !== 304) {
                    if (!answer.ok) throw new Error(String(answer.status));
                    const news = await answer.json();
                    const complete = apply(news);
                    hints();
                    tag = complete ? answer.headers.get("ETag") || "" : "";
                    if (news.final && complete) end();
                }
                failures = 0;
                say();
            } catch {
                failures += 1;
                wait = Math.min(60, 2 ** failures) * 1000;
                say(texts.qwPaused.replace("{}", wait / 1000), texts.qwRetry, refresh);
            } finally {
                busy = false;
            }
            if (!done && pace.value !== "0") timer = setTimeout(poll, wait);
        }

        function end() {
            done = true;
            control.hidden = true;
        }

        function keep() {
            memory("pace", pace.value);
            if (pace.value !== "0") memory("pace.last", pace.value);
        }

        function choose() {
            keep();
            say();
            poll();
        }

        refresh = () => (done ? reload() : poll(true));
        toggle = () => {
            pace.value = pace.value === "0" ? memory("pace.last") : "0";
            choose();
        };
        pace.value = memory("pace");
        if (pace.selectedIndex < 0) pace.value = "";
        keep();
        pace.addEventListener("change", choose);
        control.hidden = false;
        document.addEventListener("visibilitychange", () => {
            if (!document.hidden && !timer) poll();
        });
        timer = setTimeout(poll, 1000);
    }

    // Keys that take one somewhere: none changes anything by itself.
    const keys = new Map();
    const help = one("#qw-shortcuts");
    window.qorworker = { one, all, make, live, shortcut, memory };
    if (!help) return; // a page that Django makes, without our frame
    const wanted = one("input", help);
    let before = "";

    /* Does `action` when `key` is pressed, or its keys one after another if it has a space; `text` tells of it in the help. */
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
        if (isBusy || !wanted.checked || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
        const key = before + event.key;
        const begins = [...keys.keys()].some((known) => known.startsWith(key + " "));
        before = begins ? key + " " : "";
        if (!keys.has(key)) return;
        event.preventDefault();
        keys.get(key)();
    });

    const openHelp = () => help.showModal();
    wanted.checked = memory("keys") !== "off";
    wanted.addEventListener("change", () => memory("keys", wanted.checked ? "on" : "off"));
    one("#qw-help").hidden = false;
    one("#qw-help").addEventListener("click", openHelp);
    shortcut("?", help.dataset.qwHelp, openHelp);
    if (one(".qw input[type=search], #searchbar")) {
        shortcut("/", help.dataset.qwSearch, () => one(".qw input[type=search], #searchbar").focus());
    }
    all("[data-qw-key]").forEach((link) => shortcut(link.dataset.qwKey, link.textContent, () => link.click()));
    shortcut("r", help.dataset.qwRefresh, () => refresh());
    shortcut("l", help.dataset.qwSwitch, () => toggle && toggle());
})();
