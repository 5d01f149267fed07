// The table of instances, and where the time went.
import { make } from "./page_elements.js";
/** onLit: called with the instance whose row the pointer or the keyboard is on, null when it leaves. */
export function fillTable(body, instances, onLit) {
    const rows = new Map();
    for (const instance of instances) {
        const row = rowOf(instance);
        row.addEventListener("pointerenter", () => onLit(instance));
        row.addEventListener("pointerleave", () => onLit(null));
        row.addEventListener("focus", () => onLit(instance));
        row.addEventListener("blur", () => onLit(null));
        row.addEventListener("keydown", moveWithArrows);
        rows.set(instance, row);
    }
    body.replaceChildren(...rows.values());
    return rows;
}
function rowOf({ detection, color }) {
    const row = make("tr");
    row.tabIndex = 0;
    row.title = evidenceText(detection.evidence);
    const name = make("th", "name");
    name.scope = "row";
    const swatch = make("span", "swatch");
    swatch.style.setProperty("--color", color);
    name.append(swatch, detection.class_id);
    const parts = [
        detection.semantic_score,
        detection.appearance_score,
        detection.geometric_score,
        detection.visible_ratio,
        detection.fit_score,
    ];
    const position = detection.pose?.translation_m.map((metres) => metres.toFixed(3)).join("  ") ?? "–";
    row.append(name, barCell(detection.score, "score"), ...parts.map((part) => barCell(part, "part")), make("td", "numbers", detection.bbox.join("  ")), make("td", "numbers", position));
    return row;
}
/** A line a feature, from what speaks most for the instance to what speaks most against it. */
function evidenceText(evidence) {
    return Object.entries(evidence ?? {})
        .sort(([, a], [, b]) => b.contribution - a.contribution)
        .map(([name, { value, contribution }]) => {
        const sign = contribution < 0 ? "\u2212" : "+";
        return `${sign}${Math.abs(contribution).toFixed(2)}  ${name.replaceAll("_", " ")} ${value.toFixed(2)}`;
    })
        .join("\n");
}
/** A number from 0 to 1, and the same as a bar. */
function barCell(value, className) {
    const cell = make("td", className);
    const bar = make("span", "bar");
    bar.style.setProperty("--share", `${Math.round(100 * Math.min(1, Math.max(0, value)))}%`);
    cell.append(make("span", "number", value.toFixed(2)), bar);
    return cell;
}
function moveWithArrows(event) {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp")
        return;
    event.preventDefault();
    const step = event.key === "ArrowDown" ? "nextElementSibling" : "previousElementSibling";
    let row = event.currentTarget[step];
    while (row instanceof HTMLElement && row.hidden)
        row = row[step];
    if (row instanceof HTMLElement)
        row.focus();
}
/** seconds: of each stage, in order, the way to the server and back included. */
export function fillTimings(bar, list, seconds) {
    const total = seconds.reduce((sum, [, value]) => sum + value, 0);
    const pieces = [];
    const items = [];
    seconds.forEach(([stage, value], i) => {
        const piece = make("span", `stage-${i % 6}`);
        piece.style.setProperty("--share", `${(100 * value) / Math.max(total, 1e-9)}%`);
        pieces.push(piece);
        const item = make("li");
        item.append(make("span", `swatch stage-${i % 6}`), `${stage} `, make("b", "", milliseconds(value)));
        items.push(item);
    });
    bar.replaceChildren(...pieces);
    list.replaceChildren(...items);
}
export function milliseconds(seconds) {
    return seconds < 10 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`;
}
