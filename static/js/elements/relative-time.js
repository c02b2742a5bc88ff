// Keeps "3 min ago" true while the page stays open. The server has already written the words.
const UNITS = [
  ["year", 31536000],
  ["month", 2592000],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

class RelativeTime extends HTMLElement {
  connectedCallback() {
    this.time = this.querySelector("time");
    if (!this.time) return;
    const moment = new Date(this.time.dateTime);
    this.time.title = moment.toLocaleString(document.documentElement.lang, { dateStyle: "full", timeStyle: "medium" });
    this.timer = setInterval(() => this.draw(moment), 30000);
  }

  disconnectedCallback() {
    clearInterval(this.timer);
  }

  draw(moment) {
    const seconds = (moment - Date.now()) / 1000;
    const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size * 0.75) ?? ["second", 1];
    if (unit === "second") return;
    const style = unit === "minute" ? "short" : "long";
    const format = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always", style });
    this.time.textContent = format.format(Math.round(seconds / size), unit).replace("min.", "min");
  }
}

customElements.define("relative-time", RelativeTime);
