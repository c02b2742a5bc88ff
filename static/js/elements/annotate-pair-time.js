// How long a pair was looked at: time counts only while the page is.
export class ActiveTime {
  elapsed = 0; // ms
  since = null;

  start() {
    this.elapsed = 0;
    this.since = document.visibilityState === "visible" ? performance.now() : null;
  }

  tick() {
    const now = performance.now();
    if (this.since !== null) this.elapsed += now - this.since;
    this.since = document.visibilityState === "visible" ? now : null;
  }

  get seconds() {
    this.tick();
    return (this.elapsed / 1000).toFixed(2);
  }
}
