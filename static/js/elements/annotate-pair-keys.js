// The desk's keys: those that everybody has, and one more for each answer or tool that a person chooses in this browser.

const STANDARD = {
  1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 3: "tie", 4: "both_bad", s: "skip", c: "cant_judge",
  u: "undo", Backspace: "undo", "?": "keys", d: "diff", r: "raw", g: "guide", n: "note", w: "reasons", x: "edit", v: "layout", f: "flag", e: "expand", m: "mark",
};
const OF_PAIRS = new Set(["left", "right", "tie", "both_bad"]); // answers to a pair; a ranking has others
const ANSWERS = new Set([...OF_PAIRS, "skip", "cant_judge"]);
const KEPT = "keys"; // what the choice is kept under

const keyOf = (event) => (event.key.length === 1 ? event.key.toLowerCase() : event.key);
const mayBeChosen = (key) => /^Arrow/.test(key) || (key.length === 1 && key !== " " && key !== "?");
const shown = (key) => ({ ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" })[key] ?? key;

export class Keys {
  constructor(desk, kept) {
    this.desk = desk;
    this.kept = kept;
    this.dialog = desk.querySelector("[data-keys]");
    this.own = this.read(); // name → key
    this.template = this.dialog.querySelector("[data-own-key]");
    this.rows = [...this.dialog.querySelectorAll("[data-key-of]")];
    for (const row of this.rows) row.append(this.template.content.cloneNode(true));
    this.dialog.addEventListener("click", (event) => this.onClick(event));
    this.dialog.addEventListener("keydown", (event) => this.onKey(event));
    this.dialog.addEventListener("close", () => this.listenFor(null));
    this.show();
  }

  read() {
    try {
      const kept = Object.entries(JSON.parse(this.kept.get(KEPT) ?? "{}"));
      return Object.fromEntries(kept.filter(([name, key]) => typeof key === "string" && this.dialog.querySelector(`[data-key-of="${CSS.escape(name)}"]`)));
    } catch {
      return {}; // what is kept is no list of keys: the standard ones are there
    }
  }

  // What a key says: an answer or a tool; nothing where it says nothing here. A key of one's own comes before a standard one.
  said(event) {
    const key = keyOf(event);
    const name = Object.keys(this.own).find((one) => this.own[one] === key) ?? STANDARD[key];
    return this.desk.ranking.isAsked && OF_PAIRS.has(name) ? undefined : name;
  }

  isAnswer(name) {
    return ANSWERS.has(name);
  }

  // The side that a key of one's own says, as it may be pressed with Shift.
  side(event) {
    return ["left", "right"].find((name) => this.own[name] === keyOf(event));
  }

  onClick(event) {
    const row = event.target.closest("[data-key-of]");
    if (event.target.closest("[data-choose-key]")) this.listenFor(this.listening === row ? null : row);
    if (event.target.closest("[data-remove-key]")) this.choose(row, null);
  }

  onKey(event) {
    if (!this.listening || ["Tab", "Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Escape") this.listenFor(null);
    else if (mayBeChosen(keyOf(event))) this.choose(this.listening, keyOf(event));
  }

  listenFor(row) {
    this.listening = row;
    this.show();
  }

  // Give an answer or a tool a key; whatever had the key as its own loses it.
  choose(row, key) {
    const name = row.dataset.keyOf;
    this.own = Object.fromEntries(Object.entries(this.own).filter(([one, its]) => one !== name && its !== key));
    if (key) this.own[name] = key;
    this.kept.set(KEPT, Object.keys(this.own).length ? JSON.stringify(this.own) : null);
    this.listenFor(null);
    row.querySelector("[data-choose-key]").focus();
  }

  show() {
    for (const row of this.rows) {
      const name = row.dataset.keyOf;
      const key = this.own[name];
      const choose = row.querySelector("[data-choose-key]");
      const words = this.template.dataset;
      choose.querySelector("kbd").hidden = !key || this.listening === row;
      choose.querySelector("kbd").textContent = key ? shown(key) : "";
      choose.querySelector("span").textContent = this.listening === row ? words.sayPress : key ? "" : words.sayChoose;
      choose.setAttribute("aria-label", `${row.querySelector("dd").textContent}: ${this.listening === row ? words.sayPress : words.sayChoose}${key ? ` (${shown(key)})` : ""}`);
      choose.setAttribute("aria-pressed", this.listening === row);
      row.querySelector("[data-remove-key]").hidden = !key || this.listening === row;
      this.hint(name, key);
    }
  }

  // The desk's buttons show the key that a person chose.
  hint(name, key) {
    const said = ANSWERS.has(name) ? `[name=choice][value="${name}"]` : `[data-act="${name}"][aria-keyshortcuts]`;
    const button = this.desk.querySelector(`form ${said}`);
    const kbd = button?.querySelector("kbd");
    if (!kbd) return;
    kbd.dataset.standard ??= kbd.textContent;
    button.dataset.standard ??= button.getAttribute("aria-keyshortcuts");
    kbd.textContent = key ? shown(key) : kbd.dataset.standard;
    button.setAttribute("aria-keyshortcuts", key ? `${key} ${button.dataset.standard}` : button.dataset.standard);
  }
}
