// Hands what a passkey says to the form that asks for it, and posts the form.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const ids = (list) => (list || []).map((c) => ({ ...c, id: bytes(c.id) }));

async function ask(kind, options) {
  const o = { ...options.publicKey, challenge: bytes(options.publicKey.challenge) };
  if (kind === "create") {
    o.user = { ...o.user, id: bytes(o.user.id) };
    o.excludeCredentials = ids(o.excludeCredentials);
    return navigator.credentials.create({ publicKey: o });
  }
  o.allowCredentials = ids(o.allowCredentials);
  return navigator.credentials.get({ publicKey: o });
}

function answer(c) {
  const response = { clientDataJSON: text(c.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (c.response[name]) response[name] = text(c.response[name]);
  }
  if (c.response.getTransports) response.transports = c.response.getTransports();
  return JSON.stringify({ id: c.id, rawId: text(c.rawId), type: c.type, response, clientExtensionResults: c.getClientExtensionResults(),
    ...(c.authenticatorAttachment && { authenticatorAttachment: c.authenticatorAttachment }) });
}

const why = {
  InvalidStateError: "That passkey is registered already.",
  NotAllowedError: "The passkey was not used: it was called off, or it took too long.",
  SecurityError: "Passkeys do not work at this address.",
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button"), note = form.querySelector(".problem");
    button.disabled = true;
    note.hidden = true;
    try {
      form.elements.response.value = answer(await ask(form.dataset.passkey, JSON.parse(form.dataset.options)));
      form.submit();
    } catch (err) {
      note.textContent = why[err.name] || "The passkey does not work here: " + err.name;
      note.hidden = false;
      button.disabled = false;
    }
  });
}
