// The server's state in the page's head, and its key.

import * as api from "./api.js";
import { element } from "./page_elements.js";

const LOADING_PERIOD_MS = 1000;
const PERIOD_MS = 10_000;

/** Polls the server; onStatus: called with every status. */
export function watchServer(onStatus: (status: api.Status) => void): void {
  const form = element("key-form", HTMLFormElement);
  const input = element("key", HTMLInputElement);
  let timer = 0;

  async function look(): Promise<void> {
    clearTimeout(timer);
    let period = LOADING_PERIOD_MS;
    try {
      const status = await api.status();
      show(status.state, status.state === "loading" ? "loading models" : status.state, status.message);
      element("server-models", HTMLParagraphElement).textContent =
        `${status.segmentor} + ${status.descriptor} on ${status.device}`;
      form.hidden = !api.hasKey();
      if (status.state !== "loading") period = PERIOD_MS;
      onStatus(status);
    } catch (error) {
      const needsKey = error instanceof api.ServerError && error.status === 401;
      show("failed", needsKey ? (api.hasKey() ? "wrong key" : "needs a key") : "not reached", String(error));
      if (needsKey && form.hidden) {
        form.hidden = false;
        input.focus();
      }
      period = needsKey ? Infinity : LOADING_PERIOD_MS;
    }
    if (period < Infinity) timer = window.setTimeout(() => void look(), period);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    api.setKey(input.value);
    void look();
  });
  void look();
}

function show(state: string, text: string, title: string): void {
  const place = element("server-state", HTMLParagraphElement);
  place.dataset["state"] = state;
  place.title = title;
  if (place.textContent !== text) place.textContent = text;
}
