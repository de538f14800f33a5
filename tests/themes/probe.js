// Looks at the page that is open as a person does, and returns what is wrong with it: a list of texts.
const faults = new Set();
const BOX = "input:not([type=hidden], [type=checkbox], [type=radio], [type=submit], [type=button]), select, textarea";
const BUTTON = "button, input[type=submit], input[type=button], .button";
const TICK = "input[type=checkbox], input[type=radio]";
const content = document.querySelector("#content, #grp-content, main") || document.body;
const page = document.documentElement;

const named = (element) => {
    const name = element.name || element.id || element.className.baseVal || element.className || "";
    const text = (element.value || element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 30);
    return `<${element.tagName.toLowerCase()} ${String(name).slice(0, 40)}> “${text}”`;
};
const fault = (element, what) => faults.add(`${named(element)} ${what}`);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Colours as numbers, whatever notation they are in.
const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
const context = canvas.getContext("2d", { willReadFrequently: true });
const known = new Map();

function rgba(colour) {
    if (!known.has(colour)) {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
        known.set(colour, [red, green, blue, alpha / 255]);
    }
    return known.get(colour);
}

const over = (front, back) => [0, 1, 2].map((at) => front[at] * front[3] + back[at] * (1 - front[3])).concat(1);

function behind(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
        const style = getComputedStyle(at);
        if (style.backgroundImage.includes("gradient")) return null; // not one colour
        const colour = rgba(style.backgroundColor);
        if (colour[3]) layers.push(colour);
        if (colour[3] > 0.99) break;
    }
    return layers.reduceRight((back, front) => over(front, back), rgba("Canvas"));
}

function light([red, green, blue]) {
    const [r, g, b] = [red, green, blue].map((value) => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(front, back) {
    const [bright, dim] = [light(over(front, back)), light(back)].sort((a, b) => b - a);
    return (bright + 0.05) / (dim + 0.05);
}

// What is hidden on purpose has one of these around it.
function isMeant(element) {
    if (element.closest("[hidden], dialog:not([open]), .visually-hidden, .hidden, .select2-container, .select2-hidden-accessible")) return false;
    if (element.closest("noscript, template, .timezonewarning, .calendarbox, .clockbox, .qw-reason")) return false;
    for (let at = element.closest("details:not([open])"); at; at = at.parentElement.closest("details:not([open])")) {
        if (!element.closest("summary") || element.closest("summary").parentElement !== at) return false;
    }
    return true;
}

const scrolls = (element) => {
    for (let at = element.parentElement; at && at !== page; at = at.parentElement) {
        if (/auto|scroll/.test(getComputedStyle(at).overflowX) && at.scrollWidth > at.clientWidth) return true;
    }
    return false;
};

function textsIn(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) if (walker.currentNode.data.trim()) found.push(walker.currentNode);
    return found;
}

function textSize(element) {
    if (element.tagName !== "INPUT") {
        const boxes = textsIn(element).filter((node) => !node.parentElement.closest(".visually-hidden")).flatMap((node) => {
            const range = document.createRange();
            range.selectNodeContents(node);
            return [...range.getClientRects()];
        });
        if (!boxes.length) return [0, 0];
        return [
            Math.max(...boxes.map((box) => box.right)) - Math.min(...boxes.map((box) => box.left)),
            Math.max(...boxes.map((box) => box.bottom)) - Math.min(...boxes.map((box) => box.top)),
        ];
    }
    const style = getComputedStyle(element);
    context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const text = style.textTransform === "uppercase" ? element.value.toUpperCase() : element.value;
    return [context.measureText(text).width, parseFloat(style.fontSize)];
}

function hasOutline(element) {
    const style = getComputedStyle(element);
    const around = behind(element.parentElement);
    if (!around) return true;
    const border = ["Top", "Bottom"].some(
        (side) => parseFloat(style[`border${side}Width`]) >= 1 && contrast(rgba(style[`border${side}Color`]), around) >= 3,
    );
    const ground = rgba(style.backgroundColor);
    return border || contrast(ground, around) >= 3;
}

function examine(control) {
    const box = control.getBoundingClientRect();
    if (box.width < 1 || box.height < 1 || getComputedStyle(control).visibility === "hidden") {
        fault(control, "cannot be seen");
        return;
    }
    const isOurs = Boolean(control.closest(".qw"));
    if (control.matches(TICK)) {
        if (box.width < 12 || box.height < 12) fault(control, `is ${box.width} × ${box.height}`);
    } else if (control.matches(BUTTON) && !(control.value || control.textContent).trim()) {
        if (box.width < 20 || box.height < 20) fault(control, `is ${box.width} × ${box.height}`); // a picture
    } else if (control.matches(BUTTON)) {
        const [width, height] = textSize(control);
        if (box.width < width + (control.matches(".qw-link") ? 0 : 4) || box.height < height) fault(control, `is ${box.width} × ${box.height}, its text ${width} × ${height}`);
        if (isOurs && box.height < 24 && !control.matches(".qw-link")) fault(control, `is only ${box.height} high`);
        if (isOurs && !control.matches(".qw-link") && !hasOutline(control)) fault(control, "looks like no button");
    } else {
        if (control.type !== "file" && (box.width < 45 || box.height < 22)) fault(control, `is ${box.width} × ${box.height}`);
        if (isOurs && control.type !== "file" && !hasOutline(control)) fault(control, "has no border that can be seen");
    }
    if ((box.right > innerWidth + 1 || box.left < -1) && !scrolls(control)) fault(control, `reaches from ${box.left} to ${box.right}`);
    if (scrolls(control)) return;
    control.scrollIntoView({ block: "center", behavior: "instant" });
    const now = control.getBoundingClientRect();
    const top = document.elementFromPoint(now.left + now.width / 2, now.top + now.height / 2);
    if (top && top !== control && !control.contains(top) && !top.contains(control)) fault(control, `is covered by ${named(top)}`);
}

function examineTexts(root) {
    const seen = new Set();
    for (const node of textsIn(root)) {
        const element = node.parentElement;
        if (seen.has(element) || !isMeant(element) || element.closest("option, script, style")) continue;
        seen.add(element);
        const style = getComputedStyle(element);
        const box = element.getBoundingClientRect();
        if (!box.width || style.visibility === "hidden") continue;
        const back = behind(element);
        const found = back ? contrast(rgba(style.color), back) : 21;
        if (found < 4.49) fault(element, `has a contrast of ${found.toFixed(2)}: ${style.color} on ${back}`);
        if ((box.right > innerWidth + 1 || box.left < -1) && !scrolls(element)) fault(element, `reaches from ${box.left} to ${box.right}`);
    }
}

const controls = all(`${BOX}, ${BUTTON}, ${TICK}`, content).filter(isMeant);
controls.forEach(examine);
scrollTo(0, 0);
all(".qw").filter((element) => !element.parentElement.closest(".qw")).forEach(examineTexts);
all(".qw [hidden], .qw[hidden]").filter((element) => element.getClientRects().length).forEach((element) => fault(element, "is hidden, and shown"));
all(".visually-hidden", content).forEach((element) => {
    const box = element.getBoundingClientRect();
    if (box.width > 2 && box.height > 2 && getComputedStyle(element).clipPath === "none" && getComputedStyle(element).clip === "auto") fault(element, "is for screen readers, and shown");
});
const seen = controls.filter((control) => !scrolls(control)).map((control) => [control, control.getBoundingClientRect()]);
seen.forEach(([one, a], at) => seen.slice(at + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 2 && high > 2 && !one.contains(other) && !other.contains(one)) fault(one, `overlaps ${named(other)}`);
}));
all("table", content).filter(isMeant).forEach((table) => {
    const box = table.getBoundingClientRect();
    if (box.width < 150 || box.height < 20) fault(table, `is a table of ${box.width} × ${box.height}`);
    if (table.closest(".qw") && !scrolls(table) && (box.left < -1 || box.left > innerWidth * 0.75)) fault(table, `begins at ${box.left}`);
    if (box.width > innerWidth && !scrolls(table)) fault(table, "is wider than the page, and does not scroll");
});
if (document.querySelector(".qw-top") && page.scrollWidth > page.clientWidth) {
    const wide = all("body *").filter((element) => element.getBoundingClientRect().right > page.clientWidth + 1 && !scrolls(element));
    faults.add(`The page is ${page.scrollWidth} wide, the screen ${page.clientWidth}: ${wide.slice(0, 4).map(named).join("; ")}`);
}
// A browser asks for an icon by itself, at a time of its own; the site of the tests has none.
performance.getEntriesByType("resource")
    .filter((entry) => entry.responseStatus >= 400 && !entry.name.endsWith("/favicon.ico"))
    .forEach((entry) => faults.add(`${entry.name} answered ${entry.responseStatus}`));
return [...faults];
