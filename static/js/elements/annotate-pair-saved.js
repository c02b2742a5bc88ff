// The word at the desk's edge that says whether what was answered is on the server.

import { fill, signInLink } from "./annotate-pair-words.js";

const WORDS = { saved: "saved", saving: "saving", offline: "offline", retrying: "retrying", "signed-out": "signedOut" };

export function showSaved(desk, state, n) {
  const saved = desk.querySelector("[data-saved]");
  if (state === "saved" && !saved.textContent && !desk.hasSaved) return; // nothing was done yet, nothing to say
  desk.hasSaved = true;
  saved.dataset.state = state;
  const text = fill(desk.words[WORDS[state]], { n });
  if (saved.textContent !== text) saved.textContent = text;
  if (state === "signed-out") saved.append(" ", signInLink(desk.words.signIn));
}
