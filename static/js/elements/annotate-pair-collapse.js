// Long answers below each other: both are cut at the same height, so that one sees that there is another, and one
// button (or e) shows both in full. Where the sides scroll by themselves nothing is cut.

const BELOW = matchMedia("(width < 900px), (height < 480px)");

export class Collapse {
  constructor(desk, kept) {
    this.desk = desk;
    this.kept = kept;
    this.isOpen = Boolean(kept.get("long-answers")); // stays as chosen, from pair to pair
  }

  listen(signal) {
    BELOW.addEventListener("change", () => this.desk.current && this.show(this.desk.current), { signal });
  }

  toggle() {
    if (!this.desk.current || this.button(this.desk.current).hidden) return;
    this.isOpen = !this.isOpen;
    this.kept.set("long-answers", this.isOpen ? "open" : null);
    this.show(this.desk.current);
    const which = this.desk.ranking.isAsked ? "all" : "both";
    this.desk.announce(this.desk.words[`${which}${this.isOpen ? "InFull" : "Cut"}`]);
  }

  button(article) {
    return article.querySelector("[data-act=expand]");
  }

  // Called whenever the pair or its view changes.
  show(article) {
    const bodies = [...article.querySelectorAll("[data-scroll]")];
    article.classList.add("is-collapsed");
    const tooLong = bodies.map((body) => body.scrollHeight > body.clientHeight + 1);
    const isLong = BELOW.matches && tooLong.some(Boolean);
    article.classList.toggle("is-collapsed", isLong && !this.isOpen);
    bodies.forEach((body, at) => body.classList.toggle("is-cut-off", isLong && !this.isOpen && tooLong[at]));
    const button = this.button(article);
    button.hidden = !isLong;
    button.setAttribute("aria-expanded", String(this.isOpen));
    for (const words of button.querySelectorAll("[data-when-open]")) words.hidden = (words.dataset.whenOpen === "yes") !== this.isOpen;
  }
}
