/* The calendar of schedules: the time zone of this browser is among those to choose from. */
(function () {
    "use strict";

    const { one, all } = window.qorworker;

    const zones = one("select[data-qw-zones]");
    const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (!zones || !name || all("option", zones).some((option) => option.value === name)) return;
    zones.append(new Option(name, name));
})();
