/* The boxes of a list: how many rows are chosen, and whether those of the other pages are meant, too. */
(function () {
    "use strict";

    const { one, all } = window.qorworker;
    const bar = one("[data-qw-bulk]");
    const whole = one("#action-toggle");
    const boxes = all(".qw-list .action-select");
    if (!bar || !whole || !boxes.length) return;
    const counter = one("[data-qw-chosen]", bar);
    const across = one(".select-across", bar);
    const offer = one("[data-qw-across]", bar);
    const every = one("[data-qw-every]", bar);
    let last = null;

    function show() {
        const chosen = boxes.filter((box) => box.checked).length;
        whole.checked = chosen === boxes.length;
        if (!whole.checked && across) across.value = "0";
        const isAcross = Boolean(across) && across.value === "1";
        if (counter) {
            const text = window.ngettext("%(sel)s of %(cnt)s selected", "%(sel)s of %(cnt)s selected", chosen);
            counter.textContent = window.interpolate(text, { sel: chosen, cnt: boxes.length }, true);
            counter.hidden = isAcross;
        }
        if (offer) offer.hidden = !whole.checked || isAcross;
        if (every) every.hidden = !isAcross;
    }

    function choose(some, checked) {
        some.forEach((box) => (box.checked = checked));
        show();
    }

    whole.addEventListener("change", () => choose(boxes, whole.checked));
    boxes.forEach((box) => box.addEventListener("click", (event) => {
        const ends = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
        choose(event.shiftKey && last ? boxes.slice(ends[0], ends[1] + 1) : [box], box.checked);
        last = box;
    }));
    if (offer) offer.addEventListener("click", () => {
        across.value = "1";
        show();
    });
    if (every) one("button", every).addEventListener("click", () => choose(boxes, false));
    window.addEventListener("pageshow", show); // the browser may have kept what was ticked
})();
