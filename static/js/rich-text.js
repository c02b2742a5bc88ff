// Texts of models and people, once the server has made them safe: formulas are typeset (KaTeX, loaded when there is one),
// code gets a button to copy it, and what scrolls sideways can be reached by keyboard.

const LONGEST = 2000; // characters of a formula, as on the server
const ENDS = { "$": 1, "$$": 2, "\\(": 2, "\\[": 2 };
// No trust: a formula that would link, load, or carry a class or style is shown as its source. Bounded in macros and size.
const refuse = ({ command }) => {
  throw new Error(command);
};
const OPTIONS = { trust: refuse, strict: "ignore", throwOnError: true, maxExpand: 200, maxSize: 20, errorColor: "currentcolor", output: "htmlAndMathml" };
const words = document.querySelector("[data-text-words]")?.dataset ?? {};

let loading = null;
function katex() {
  loading ??= new Promise((done, failed) => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", onload: done, onerror: failed });
    style.href = new URL("../vendor/katex/katex.min.css", import.meta.url);
    document.head.append(style);
  }).then(() => import("../vendor/katex/katex.min.js")).then(() => globalThis.katex);
  return loading;
}

function typeset(engine, element) {
  const source = element.textContent;
  const open = Object.keys(ENDS).findLast((start) => source.startsWith(start));
  if (!open || source.length > LONGEST + 4) return;
  element.dataset.source = source;
  const displayMode = element.classList.contains("math-block");
  try {
    engine.render(source.slice(open.length, -ENDS[open]), element, { ...OPTIONS, displayMode });
  } catch (error) {
    // the source stays, with what is wrong in it: an error of KaTeX's, or of a formula too deep for it
    const why = document.createElement("span");
    why.className = "math-error";
    why.textContent = ` ${words.sayFormula ?? ""} ${error.message.replace(/^KaTeX parse error: /, "").slice(0, 120)}`;
    element.replaceChildren(source, why);
  }
}

function addCopy(pre) {
  const box = document.createElement("div");
  box.className = "code-box";
  pre.replaceWith(box);
  const copy = document.createElement("copy-button");
  copy.setAttribute("text", pre.textContent);
  copy.setAttribute("label", words.sayCopy ?? "Copy");
  copy.setAttribute("done", words.sayCopied ?? "Copied");
  pre.tabIndex = 0;
  box.append(pre, copy);
}

function addScroll(table) {
  const box = document.createElement("div");
  box.className = "table-box";
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", words.sayTable ?? "Table");
  table.replaceWith(box);
  box.append(table);
}

const all = (root, selector) => [...(root.matches?.(selector) ? [root] : []), ...root.querySelectorAll(selector)];

// Tells those who measure texts ("settext" bubbles from the text) when its formulas have their size.
async function enrich(root) {
  all(root, ".model-text pre:not(.raw)").forEach((pre) => pre.parentElement.matches(".code-box") || addCopy(pre));
  all(root, ".model-text table").forEach((table) => table.parentElement.matches(".table-box") || addScroll(table));
  const formulas = all(root, ".math:not([data-source])");
  if (!formulas.length) return;
  const engine = await katex().catch(() => null); // not reached: the source stays
  if (!engine) return;
  for (const formula of formulas) if (!("source" in formula.dataset)) typeset(engine, formula);
  root.dispatchEvent(new CustomEvent("settext", { bubbles: true }));
}

enrich(document.body);
new MutationObserver((changes) => {
  for (const { addedNodes } of changes)
    for (const node of addedNodes) if (node.nodeType === Node.ELEMENT_NODE && !node.closest(".math, copy-button")) enrich(node);
}).observe(document.body, { childList: true, subtree: true });
