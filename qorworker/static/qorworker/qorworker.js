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

    // A form that asks first: the question as a dialog, answered by a form of its own.
    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (!form.dataset.qwAsk || !window.HTMLDialogElement) return;
        event.preventDefault();
        ask(form);
    });

    function ask(form) {
        const dialog = make("dialog", "", "qw-dialog");
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
        const back = make("button", one(".qw-job").dataset.qwCancel, "button");
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

    // The run form: one submit; the time only where it is needed; the button says what will happen.
    all("form[data-qw-once]").forEach((form) => {
        form.addEventListener("submit", (event) => {
            if (form.dataset.qwSent) event.preventDefault();
            form.dataset.qwSent = "1";
        });
        window.addEventListener("pageshow", () => delete form.dataset.qwSent);
        const radios = all('input[name="qw-when"]', form);
        const box = one('input[name="qw-at_0"]', form);
        const submit = one("[data-qw-later]", form);
        if (!radios.length || !box) return;
        const time = box.closest(".form-row"); // not by its class: an argument may be called "at" too
        const follow = () => {
            const later = radios.some((radio) => radio.checked && radio.value === "later");
            time.hidden = !later;
            submit.value = later ? submit.dataset.qwLater : submit.dataset.qwNow;
        };
        radios.forEach((radio) => radio.addEventListener("change", follow));
        window.addEventListener("pageshow", follow);
        follow();
    });

    all("[data-qw-focus]").forEach((element) => element.focus());
    all("[data-qw-submit]").forEach((select) => select.addEventListener("change", () => select.form.submit()));

    // The catalogue narrows while one types.
    const query = one("#qw-q");
    if (query) {
        const count = one("[data-qw-count]");
        query.addEventListener("input", () => {
            const wanted = query.value.trim().toLowerCase();
            let shown = 0;
            all("[data-qw-group]").forEach((group) => {
                let any = false;
                all("[data-qw-text]", group).forEach((card) => {
                    card.hidden = !card.dataset.qwText.toLowerCase().includes(wanted);
                    if (!card.hidden) {
                        any = true;
                        shown += 1;
                    }
                });
                group.hidden = !any;
            });
            count.textContent = wanted ? count.dataset.qwCount.replace("{}", shown) : "";
        });
    }

    // The page of a job.
    const log = one("[data-qw-log]");
    const page = one("[data-qw-live]");
    let following = false;
    let unseen = 0;
    if (log) {
        const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
        const more = make("button", "", "qw-new-lines");
        more.type = "button";
        more.hidden = true;
        log.after(more);
        if (!location.hash.startsWith("#L") && page) log.scrollTop = log.scrollHeight;
        following = isAtEnd();
        log.addEventListener("scroll", () => {
            following = isAtEnd();
            if (following) unseen = 0;
            more.hidden = !unseen;
        });
        more.addEventListener("click", () => {
            log.scrollTop = log.scrollHeight;
        });
        log.qwGrew = (number) => {
            if (following) {
                log.scrollTop = log.scrollHeight;
                return;
            }
            unseen += number;
            more.textContent = log.dataset.qwNew.replace("{}", unseen);
            more.hidden = !unseen;
        };
    }
    if (!page) return;

    const data = page.dataset;
    const began = Date.now();
    const trouble = one("[data-qw-trouble]");
    const KEPT = 5000;
    let tag = "";
    let failures = 0;
    let timer = 0;
    let done = false;
    let busy = false;

    function pause() {
        const minutes = (Date.now() - began) / 60000;
        return minutes < 1 ? 1000 : minutes < 10 ? 2000 : 5000;
    }

    function say(text) {
        trouble.textContent = text;
        trouble.hidden = !text;
    }

    function address() {
        const asked = new URLSearchParams();
        const shown = new URLSearchParams(location.search);
        ["level", "page", "rows"].forEach((name) => {
            if (shown.has(name)) asked.set(name, shown.get(name));
        });
        asked.set("state", data.qwState);
        asked.set("after", data.qwAfter);
        asked.set("results", data.qwResults);
        return data.qwLive + "?" + asked;
    }

    async function poll() {
        timer = 0;
        if (document.hidden || done || busy) return;
        let wait = pause();
        busy = true;
        try {
            const answer = await fetch(address(), {
                headers: tag ? { "If-None-Match": tag } : {},
                redirect: "manual",
                cache: "no-store",
                credentials: "same-origin",
            });
            if (answer.type === "opaqueredirect" || [401, 403, 404].includes(answer.status)) {
                done = true;
                say(data.qwSignedOut);
                return;
            }
            if (answer.status !== 304) {
                if (!answer.ok) throw new Error(String(answer.status));
                tag = apply(await answer.json()) ? answer.headers.get("ETag") || "" : "";
            }
            failures = 0;
            say("");
        } catch {
            failures += 1;
            wait = Math.min(60, 2 ** failures) * 1000;
            say(data.qwPaused.replace("{}", wait / 1000));
        } finally {
            busy = false;
        }
        if (!done) timer = setTimeout(poll, wait);
    }

    // Whether everything could be shown: a part in which somebody is working is left alone until later.
    function apply(news) {
        let complete = true;
        Object.entries(news.parts).forEach(([name, html]) => {
            const place = document.getElementById("qw-" + name);
            if (!place) return;
            if (place.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) {
                complete = false;
                return;
            }
            place.innerHTML = html; // rendered and escaped by the server
        });
        addLines(news);
        data.qwAfter = news.last;
        if (complete) {
            data.qwState = news.state;
            data.qwResults = news.results;
        }
        one("[data-qw-told]").textContent = news.told;
        done = news.final && complete;
        return complete;
    }

    function addLines(news) {
        if (!log || !news.lines.length) return;
        log.hidden = false;
        const empty = one("[data-qw-nolog]");
        if (empty) empty.remove();
        const fresh = document.createDocumentFragment();
        news.lines.forEach((line) => {
            if (document.getElementById("L" + line.number)) return;
            const row = make("div");
            row.id = "L" + line.number;
            row.dataset.level = line.level;
            const anchor = make("a", line.time);
            anchor.href = "#L" + line.number;
            row.append(anchor, make("b", line.level), make("span", line.text));
            fresh.append(row);
        });
        const number = fresh.childNodes.length;
        log.append(fresh);
        if (following) while (log.childElementCount > KEPT) log.firstElementChild.remove();
        one("[data-qw-lines]").textContent = news.last;
        log.qwGrew(number);
    }

    // The clock of a running job ticks between two answers.
    function tick() {
        const clock = one("[data-qw-clock]");
        if (!clock || done) return;
        if (!clock.qwSince) clock.qwSince = Date.now() - 1000 * clock.dataset.qwClock;
        const total = Math.floor((Date.now() - clock.qwSince) / 1000);
        const numbers = [86400, 3600, 60, 1].map((size, index, sizes) =>
            Math.floor((index ? total % sizes[index - 1] : total) / size),
        );
        const first = Math.max(0, numbers.findIndex(Boolean));
        const told = data.qwUnits.split("|").map((unit, index) => unit.replace("%d", numbers[index]));
        if (total) clock.textContent = told.slice(first, first + 2).filter((_, at) => numbers[first + at]).join(" ");
    }

    document.addEventListener("visibilitychange", () => {
        if (!document.hidden && !timer) poll();
    });
    setInterval(tick, 1000);
    timer = setTimeout(poll, 1000);
})();
