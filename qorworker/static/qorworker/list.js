/* The list of jobs: its rows and cells get the ids by which news name them. */
(function () {
    "use strict";

    const { all } = window.qorworker;

    all(".qw-list [data-qw-row]").forEach((mark) => {
        const row = mark.closest("tr");
        row.id = "qw-" + mark.dataset.qwRow;
        for (const cell of row.cells) {
            const [, name] = cell.className.match(/\bfield-(\w+)/) || [];
            if (name) cell.id = row.id + "-" + name;
        }
    });
})();
