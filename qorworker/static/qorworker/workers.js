/* The pages of the workers and of the queues. */
(function () {
    "use strict";

    const { one, live } = window.qorworker;

    const place = one("#qw-workers, #qw-queues");
    if (!place) return;
    const isInUse = () =>
        place.contains(document.activeElement) || place.querySelector("details[open]") || !getSelection().isCollapsed;

    live({
        address: () => place.dataset.qwLive + location.search,
        pause: () => 5000,
        apply: (news) => {
            if (!isInUse()) place.innerHTML = news.html; // rendered and escaped by the server
            return true;
        },
    });
})();
