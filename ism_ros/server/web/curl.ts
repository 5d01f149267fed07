// The request as a line for a shell.

import type { Frame, Options } from "./api.js";

/**
 * isSample: the frame is the server's own, which curl gets from there. hasKey: the key is read from ISM_API_KEY, so
 * that it is in no history.
 */
export function curlLine(
  server: string,
  frame: Frame,
  options: Options,
  isSample: boolean,
  hasKey: boolean,
): string {
  const key = hasKey ? ` -H "X-API-Key: $ISM_API_KEY"` : "";
  if (isSample) {
    // what comes last in an object counts
    const change = quoted(`s/}$/, ${JSON.stringify(options).slice(1, -1).replace(/[\\/&]/g, "\\$&")}}/`);
    return [
      `curl -s ${server}/test/sample${key}`,
      `  | sed ${change}`,
      `  | curl -s ${server}/api/v1/inference${key} -H 'content-type: application/json' -d @-`,
    ].join(" \\\n");
  }
  const parts = [
    `curl -s ${server}/api/v1/inference/upload${key}`,
    `  -F ${quoted(`rgb=@${fileName(frame.rgb.name)}`)}`,
    ...(frame.depth === null ? [] : [`  -F ${quoted(`depth=@${fileName(frame.depth.name)}`)}`]),
    `  -F ${quoted(`cam_params=<${fileName(frame.camera.name)}`)}`,
    `  --form-string ${quoted(`options=${JSON.stringify(options)}`)}`,
  ];
  return parts.join(" \\\n");
}

/** For a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** As curl reads it after @ and <. */
function fileName(name: string): string {
  return /[",;\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
}
