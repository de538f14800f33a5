/* Shows what has changed without a reload, on pages with an element that has the address in `data-qw-live`. */
(function () {
    "use strict";

    const { one, all, make, hints, memory, shortcut, texts } = window.qorworker;
    const named = (id) => document.getElementById("qw-" + id);
    const waiting = new Map(); // HTML of parts in use, by id
    const shown = new Map(); // the last HTML of each part

    // A part in which a person types, presses, reads or marks something is left alone until later.
    let pressed = null;
    document.addEventListener("pointerdown", (event) => (pressed = event.target));
    ["pointerup", "pointercancel"].forEach((kind) => document.addEventListener(kind, () => (pressed = null)));

    function isInUse(part) {
        const focused = document.activeElement;
        const marked = getSelection();
        return (
            part.contains(pressed) ||
            (part.contains(focused) && focused.matches("input, select, textarea, g")) ||
            (!marked.isCollapsed && marked.containsNode(part, true)) ||
            one("details[open]:not([data-qw-open])", part)
        );
    }

    // What a link or button does and how it reads: two workers may have buttons of the same name.
    function meaningOf(element) {
        const form = element.form || one("form", element.parentNode);
        return [element.tagName, element.textContent, element.href || (form && form.action)].join("\n");
    }

    // The focus moves to what takes the place of the link or button that had it, or where the page says.
    function replace(part, html) {
        const focused = part.contains(document.activeElement) && part !== document.activeElement;
        const meaning = focused && meaningOf(document.activeElement);
        part.innerHTML = html;
        if (!focused) return;
        const same = all("a, button, summary", part).find((element) => meaningOf(element) === meaning);
        const landing = same || one("[data-qw-landing]") || part;
        if (landing === part) part.tabIndex = -1;
        landing.focus({ preventScroll: true });
    }

    /* Carries out an answer of the server. `parts` take the place of what is in the elements with these ids, and
       `append` follows it: HTML that the server has escaped. The rows of the elements `gone` have been deleted. */
    function apply({ parts = {}, append = {}, gone = [] }) {
        Object.entries(parts).forEach(([id, html]) => waiting.set(id, html));
        waiting.forEach((html, id) => {
            const part = named(id);
            const isNew = part && shown.get(id) !== html;
            if (isNew && isInUse(part)) return;
            if (isNew) replace(part, html);
            shown.set(id, html);
            waiting.delete(id);
        });
        Object.entries(append).forEach(([id, html]) => {
            const part = named(id);
            if (!part) return;
            const before = part.childElementCount;
            part.insertAdjacentHTML("beforeend", html);
            part.dispatchEvent(new CustomEvent("qw-append", { detail: part.childElementCount - before }));
        });
        gone.map(named).filter(Boolean).forEach((element) => {
            element.dataset.qwGone = "";
            element.title = texts.deleted;
        });
        hints();
    }

    window.qorworker.apply = apply;
    const page = one("[data-qw-live]");
    const control = one("#qw-live");
    if (!page || !control) return;

    const address = new URL(page.dataset.qwLive, location.href);
    const pace = one("select", control);
    const began = Date.now();
    const every = page.dataset.qwEvery;
    let tag = "";
    let failures = 0;
    let timer = 0;
    let isFinal = false;
    let isDone = false;
    let isBusy = false;

    // Milliseconds until the next question: as chosen, else soon where something is awaited.
    function pause() {
        if (pace.value || every) return 1000 * (pace.value || every);
        const minutes = (Date.now() - began) / 60000;
        if (!("qwSoon" in page.dataset) || minutes >= 10) return 5000;
        return minutes < 1 ? 1000 : 2000;
    }

    // The line under the navigation tells why nothing new comes, and what can be done.
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
    const refresh = () => (isDone ? reload() : poll(true));

    function end(text, offer) {
        isDone = true;
        control.hidden = true;
        say(text, offer, reload);
    }

    async function ask() {
        const answer = await fetch(address, {
            headers: tag ? { "If-None-Match": tag } : {},
            redirect: "manual",
            cache: "no-store",
            credentials: "same-origin",
        });
        if (answer.type === "opaqueredirect" || answer.status === 401) return end(texts.signedOut, texts.signIn);
        if ([403, 404].includes(answer.status)) return end(texts.gone, texts.reload);
        if (answer.status !== 304 && !answer.ok) throw new Error(String(answer.status));
        const news = answer.status === 304 ? { state: {}, final: isFinal } : await answer.json();
        apply(news);
        Object.entries(news.state).forEach(([name, value]) => address.searchParams.set(name, value));
        tag = answer.headers.get("ETag") || "";
        isFinal = news.final;
        if (isFinal && !waiting.size) end();
        else say();
    }

    // On trouble it waits twice as long each time, up to a minute. While the tab is hidden nothing is asked.
    async function poll(isWanted) {
        clearTimeout(timer);
        timer = 0;
        if (document.hidden || isDone || isBusy || (pace.value === "0" && isWanted !== true)) return;
        let wait = pause();
        isBusy = true;
        try {
            await ask();
            failures = 0;
        } catch {
            failures += 1;
            wait = Math.min(60, 2 ** failures) * 1000;
            say(texts.paused.replace("{}", wait / 1000), texts.retry, refresh);
        } finally {
            isBusy = false;
        }
        if (!isDone && pace.value !== "0") timer = setTimeout(poll, wait);
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

    pace.value = memory("pace");
    if (pace.selectedIndex < 0) pace.value = "";
    keep();
    pace.addEventListener("change", choose);
    control.hidden = false;
    document.addEventListener("visibilitychange", () => {
        if (!document.hidden && !timer) poll();
    });
    shortcut("r", texts.refresh, refresh);
    shortcut("l", texts.toggle, () => {
        pace.value = pace.value === "0" ? memory("pace.last") : "0";
        choose();
    });
    timer = setTimeout(poll, 1000 * (every || 1));
})();
