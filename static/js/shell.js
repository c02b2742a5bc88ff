// What every page has: the frame's custom elements, and a word when the network is gone.
import "./elements/command-palette.js";
import "./elements/theme-switch.js";
import "./elements/relative-time.js";
import "./elements/copy-button.js";
import "./elements/live-region.js";
import "./rich-text.js";

const setOffline = () => document.body.classList.toggle("is-offline", !navigator.onLine);
window.addEventListener("online", setOffline);
window.addEventListener("offline", setOffline);
setOffline();

// On a narrow screen a row of tabs scrolls: the chosen one is brought into view.
for (const tab of document.querySelectorAll(".tabs > [aria-current]")) {
  const row = tab.parentElement;
  row.scrollLeft += tab.getBoundingClientRect().left - row.getBoundingClientRect().left - (row.clientWidth - tab.offsetWidth) / 2;
}

// Menus are <details>: close them on Escape and on a click elsewhere.
const openMenus = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("click", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of openMenus()) {
    menu.open = false;
    menu.querySelector("summary")?.focus();
  }
});

// Say something to screen readers without moving the page: announce("Saved").
export function announce(text) {
  const region = document.getElementById("announcer");
  if (region) region.textContent = text;
}

// The explanation of a term opens to the side that has room.
const placeTip = (event) => {
  const term = event.target.closest?.(".term");
  if (!term) return;
  const box = term.getBoundingClientRect();
  term.classList.toggle("is-late", box.left + 300 > document.documentElement.clientWidth);
  term.classList.toggle("is-low", box.top < 140);
};
document.addEventListener("pointerover", placeTip);
document.addEventListener("focusin", placeTip);

// A form whose control says data-submit-on-change sends itself; without scripts its button does.
document.addEventListener("change", (event) => {
  const control = event.target.closest?.("[data-submit-on-change]");
  control?.form?.requestSubmit();
});

// data-confirm asks before a form that cannot be undone is sent.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// What a test said holds for the values that were tested: it goes when one of them changes, or never comes.
document.addEventListener("input", (event) => {
  const tested = event.target.closest?.("[data-tested]");
  tested?.querySelector("[data-test-result]")?.replaceChildren();
  const asking = tested?.querySelector("[hx-post]");
  if (asking) window.htmx?.trigger(asking, "htmx:abort");
});

// <button data-open-dialog="id"> and <button data-close-dialog> work with <dialog>.
document.addEventListener("click", (event) => {
  const opener = event.target.closest?.("[data-open-dialog]");
  if (opener) document.getElementById(opener.dataset.openDialog)?.showModal();
  if (event.target.closest?.("[data-close-dialog]")) event.target.closest("dialog")?.close();
});
