// <passkey-form data-options="id of JSON" | data-from="address of JSON">: its form is sent with what the browser's
// passkey answers. Options with a `user` make a new passkey, others ask for one.
class PasskeyForm extends HTMLElement {
  connectedCallback() {
    this.form = this.querySelector("form");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
  }

  async ask() {
    const says = this.querySelector("[role=alert].field-errors");
    says.textContent = "";
    if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
      says.textContent = this.dataset.sayMissing;
      return;
    }
    try {
      const { publicKey } = await this.options();
      const credential = publicKey.user
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) });
      this.form.elements.credential.value = JSON.stringify(credential.toJSON());
    } catch {
      says.textContent = this.dataset.sayFailed; // refused, cancelled, too late, or the network is gone
      return;
    }
    this.form.submit();
  }

  async options() {
    if (this.dataset.options) return JSON.parse(document.getElementById(this.dataset.options).textContent);
    const response = await fetch(this.dataset.from, { headers: { Accept: "application/json" } });
    return (await response.json()).request_options;
  }
}

customElements.define("passkey-form", PasskeyForm);
