/* The list of jobs: its rows are told anew by their number; what is selected, focused or marked stays. */
(function () {
    "use strict";

    const { one, all, live } = window.qorworker;

    const list = one("[data-qw-list]");
    if (!list) return;
    const rows = new Map(all("[data-qw-row]", list).map((mark) => [mark.dataset.qwRow, mark.closest("tr")]));
    const shown = new Map(); // the HTML that each cell was given last

    function address() {
        const url = new URL(list.dataset.qwList, location.href);
        url.searchParams.set("ids", [...rows.keys()].join(","));
        url.searchParams.set("newest", list.dataset.qwNewest);
        if ("qwWhole" in list.dataset) url.searchParams.set("whole", "1");
        return url;
    }

    const isInUse = (cell) => {
        const marked = getSelection();
        return cell.contains(document.activeElement) || (!marked.isCollapsed && marked.containsNode(cell, true));
    };

    function tell(row, cells) {
        return Object.entries(cells).every(([name, html]) => {
            const cell = one(".field-" + name, row);
            if (!cell || shown.get(cell) === html) return true;
            if (isInUse(cell)) return false;
            cell.innerHTML = html; // rendered and escaped by the server
            shown.set(cell, html);
            return true;
        });
    }

    function apply(news) {
        let complete = true;
        rows.forEach((row, number) => {
            if (news.rows[number]) complete = tell(row, news.rows[number]) && complete;
            else if (!row.dataset.qwGone) {
                row.dataset.qwGone = "1";
                row.title = list.dataset.qwDeleted;
            }
        });
        Object.entries(news.counts).forEach(([tab, count]) =>
            all(`[data-qw-count="${tab}"]`).forEach((place) => (place.textContent = count)),
        );
        const line = one(".qw-newer", list);
        line.hidden = !news.newer;
        one("span", line).textContent = news.newer;
        return complete;
    }

    live({ address, apply, pause: () => 5000 });
})();
