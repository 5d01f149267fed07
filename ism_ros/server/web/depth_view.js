// Depth as colors: near is warm, far is cold, no measurement is dark.
const STOPS = [
    [255, 244, 180],
    [250, 176, 70],
    [222, 84, 72],
    [142, 40, 118],
    [66, 32, 134],
    [22, 26, 78],
];
const UNKNOWN = [20, 20, 22];
const LEAST_PART = 0.01; // of the measured pixels that are left out at either end, as single ones are often wrong
/** share: 0 = near, 1 = far. */
export function depthColor(share) {
    const at = Math.min(1, Math.max(0, share)) * (STOPS.length - 1);
    const below = Math.min(STOPS.length - 2, Math.floor(at));
    const [a, b] = [STOPS[below] ?? UNKNOWN, STOPS[below + 1] ?? UNKNOWN];
    const mix = (i) => Math.round(a[i] + (b[i] - a[i]) * (at - below));
    return [mix(0), mix(1), mix(2)];
}
/** depthScale: metres = number * depthScale / 1000. */
export function depthView(depth, depthScale) {
    const { width, height, values } = depth;
    const metres = depthScale / 1000;
    const measured = values.filter((value) => value > 0).sort();
    const near = measured[Math.floor(LEAST_PART * measured.length)] ?? 0;
    const far = measured[Math.floor((1 - LEAST_PART) * measured.length)] ?? near;
    const pixels = new ImageData(width, height);
    values.forEach((value, i) => {
        const [red, green, blue] = value === 0 ? UNKNOWN : depthColor((value - near) / Math.max(1, far - near));
        pixels.data.set([red, green, blue, 255], 4 * i);
    });
    const picture = document.createElement("canvas");
    picture.width = width;
    picture.height = height;
    picture.getContext("2d")?.putImageData(pixels, 0, 0);
    const depthM = (x, y) => x < 0 || y < 0 || x >= width || y >= height ? 0 : (values[y * width + x] ?? 0) * metres;
    return { picture, nearM: near * metres, farM: far * metres, depthM };
}
/** The colors from near to far. */
export function drawLegend(bar) {
    const context = bar.getContext("2d");
    if (context === null)
        return;
    for (let x = 0; x < bar.width; x++) {
        context.fillStyle = `rgb(${depthColor(x / (bar.width - 1)).join(" ")})`;
        context.fillRect(x, 0, 1, bar.height);
    }
}
