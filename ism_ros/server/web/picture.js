// The canvas: color or depth, and over it the instances; the one under the pointer, or chosen in the table, is lit.
import { decodeMask, outline } from "./masks.js";
const FIRST_HUE = 190;
const GOLDEN_ANGLE = 137.508;
const MAX_ENLARGEMENT = 3;
const LABEL_FONT = "600 12px system-ui, sans-serif";
export function instanceOf(detection, row) {
    const mask = decodeMask(detection.segmentation);
    const color = `hsl(${(FIRST_HUE + row * GOLDEN_ANGLE) % 360} 95% 58%)`;
    return { detection, mask, border: outline(mask), color };
}
/** What came nearest to an instance, of which only the box is known. */
export function rejectedInstanceOf({ class_id, score, bbox }, size) {
    const border = new Path2D();
    border.rect(bbox[0], bbox[1], bbox[2] + 1, bbox[3] + 1);
    const mask = { ...size, inside: new Uint8Array(size.width * size.height), area: 0 };
    const parts = { semantic_score: 0, appearance_score: 0, geometric_score: 0, visible_ratio: 0, fit_score: 0 };
    const segmentation = { counts: "", size: [size.height, size.width] };
    return {
        detection: { class_id, score, ...parts, bbox, segmentation, template_index: 0, pose: null, evidence: null },
        mask,
        border,
        color: `hsl(${FIRST_HUE} 95% 58%)`,
    };
}
/** The best instance there, of those shown; x, y in pixels of the image. */
export function instanceAt(instances, x, y) {
    for (const instance of instances) {
        const { width, height, inside } = instance.mask;
        if (x >= 0 && y >= 0 && x < width && y < height && inside[y * width + x] === 1)
            return instance;
    }
    return null;
}
/** Makes the canvas as sharp as the screen; returns how many of its pixels one of the image takes. */
export function fit(canvas, scene, room) {
    const { width, height } = scene.color;
    const cssScale = Math.min(room.width / width, room.height / height, MAX_ENLARGEMENT);
    const scale = cssScale * window.devicePixelRatio;
    canvas.style.width = `${Math.round(width * cssScale)}px`;
    canvas.style.height = `${Math.round(height * cssScale)}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    return scale;
}
export function draw(canvas, scene, look, scale) {
    const context = canvas.getContext("2d");
    if (context === null)
        return;
    const under = look.view === "depth" && scene.depth !== null ? scene.depth.picture : scene.color;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.imageSmoothingEnabled = look.view === "color";
    context.imageSmoothingQuality = "high";
    context.drawImage(under, 0, 0, canvas.width, canvas.height);
    const instances = scene.instances.filter((instance) => look.shown.has(instance));
    if (look.guess !== null && look.showMasks)
        drawGuess(context, look.guess, scale);
    if (look.lit !== null && look.shown.has(look.lit))
        darkenAround(context, look.lit, scale);
    if (look.showMasks) {
        for (const instance of [...instances].reverse())
            drawMask(context, instance, look.lit, scale);
        drawLabels(context, instances, look.lit, scale);
    }
    else if (look.lit !== null && look.shown.has(look.lit)) {
        drawMask(context, look.lit, look.lit, scale);
        drawLabels(context, [look.lit], look.lit, scale);
    }
}
function darkenAround(context, lit, scale) {
    const around = new Path2D();
    around.rect(0, 0, lit.mask.width, lit.mask.height);
    around.addPath(lit.border);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = "rgb(8 12 18 / 0.4)";
    context.fill(around, "evenodd");
}
/** Its outline alone, dashed and dimmed: it is none of what was found. */
function drawGuess(context, guess, scale) {
    const line = window.devicePixelRatio / scale;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.globalAlpha = 0.75;
    context.strokeStyle = "rgb(8 12 18)";
    context.lineWidth = 3.5 * line;
    context.stroke(guess.border);
    context.setLineDash([6 * line, 5 * line]);
    context.strokeStyle = "white";
    context.lineWidth = 2 * line;
    context.stroke(guess.border);
    context.setLineDash([]);
    context.globalAlpha = 1;
    drawLabels(context, [guess], null, scale, 0.7);
}
function drawMask(context, instance, lit, scale) {
    const isLit = instance === lit;
    const line = window.devicePixelRatio / scale; // one CSS pixel
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.lineJoin = "round";
    context.globalAlpha = isLit ? 0.28 : lit === null ? 0.38 : 0.12;
    context.fillStyle = instance.color;
    context.fill(instance.border, "evenodd");
    context.globalAlpha = lit === null || isLit ? 1 : 0.55;
    context.strokeStyle = isLit ? "white" : "rgb(8 12 18 / 0.5)";
    context.lineWidth = (isLit ? 5 : 4) * line;
    context.stroke(instance.border);
    context.strokeStyle = instance.color;
    context.lineWidth = (isLit ? 2.5 : 2) * line;
    context.stroke(instance.border);
    context.globalAlpha = 1;
}
/** Name and score above each box; one that would cover a better one's is left out. */
function drawLabels(context, instances, lit, scale, opacity = 1) {
    const dpr = window.devicePixelRatio;
    const toCss = scale / dpr;
    context.setTransform(dpr, 0, 0, dpr, 0, 0);
    context.font = LABEL_FONT;
    context.textBaseline = "middle";
    const room = { width: context.canvas.width / dpr, height: context.canvas.height / dpr };
    const taken = [];
    const litFirst = [...instances].sort((a, b) => Number(b === lit) - Number(a === lit));
    for (const instance of litFirst) {
        const { class_id: name, score, bbox } = instance.detection;
        const text = `${name} ${score.toFixed(2)}`;
        const width = context.measureText(text).width + 12;
        const height = 19;
        const box = {
            x: Math.max(2, Math.min(bbox[0] * toCss, room.width - width - 2)),
            y: Math.max(2, bbox[1] * toCss - height - 4),
            width,
            height,
        };
        if (taken.some((other) => overlap(box, other)))
            continue;
        taken.push(box);
        context.globalAlpha = lit === null || instance === lit ? opacity : 0.5;
        context.fillStyle = "rgb(12 16 22 / 0.82)";
        context.beginPath();
        context.roundRect(box.x, box.y, width, height, 4);
        context.fill();
        context.fillStyle = instance.color;
        context.fillRect(box.x, box.y + 3, 3, height - 6);
        context.fillStyle = "white";
        context.fillText(text, box.x + 7, box.y + height / 2 + 0.5);
    }
    context.globalAlpha = 1;
}
function overlap(a, b) {
    return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}
