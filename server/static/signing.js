// What a passkey is asked and what it answers, as Modelsmith reads it, and what a person can do where there is none. No page, no network.

export function base64url(buffer) {
  const text = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function bytesOf(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

// The SHA-256 of the very text that the page shows.
export async function challengeOf(statement) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(statement)));
}

export function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function askFor(shown, challenge, host) {
  return {
    challenge,
    rpId: host,
    allowCredentials: shown.credentials.map((id) => ({ type: "public-key", id: bytesOf(id) })),
    userVerification: shown.user_verification ? "required" : "preferred",
  };
}

export function assertionOf(credential) {
  const { clientDataJSON, authenticatorData, signature } = credential.response;
  return JSON.stringify({
    id: credential.id,
    rawId: credential.id,
    type: credential.type,
    response: {
      clientDataJSON: base64url(clientDataJSON),
      authenticatorData: base64url(authenticatorData),
      signature: base64url(signature),
    },
    clientExtensionResults: {},
  });
}

// ES256, RS256 and ed25519: the algorithms that an approver list takes.
export const ALGORITHMS = [-7, -8, -257];

export function askToMake(name, random, host) {
  return {
    challenge: random,
    rp: { id: host, name: "Modelsmith" },
    user: { id: random.slice(0, 16), name, displayName: name },
    pubKeyCredParams: ALGORITHMS.map((alg) => ({ type: "public-key", alg })),
    authenticatorSelection: { userVerification: "required", residentKey: "preferred" },
    attestation: "none",
  };
}

// The entry of an approver list; the counter stands behind the host's digest and the flags.
export function recordOf(credential, host, origin) {
  const data = new Uint8Array(credential.response.getAuthenticatorData());
  return {
    credential: credential.id,
    public_key: base64url(credential.response.getPublicKey()),
    rp_id: host,
    origin,
    counter: new DataView(data.buffer, data.byteOffset).getUint32(33),
  };
}

// Why no passkey can be asked on this page; "" where one can. Passkeys belong to names, and the daemon's is localhost.
export function obstacleHere() {
  if (/^[\d.]+$|^\[/.test(location.hostname)) return "Passkeys need a name: open this page as http://localhost, at the address that modelsmith prints.";
  return window.PublicKeyCredential ? "" : "This browser has no passkeys. Open the page in another, or sign with a key in a terminal.";
}

// Browsers give one name to most of what can go wrong with a device, so that no page learns what it holds; a person must be told what it may be.
const REFUSED = "it was cancelled or took too long, or the device holds no passkey for this, or could not check that it is you";
const NEXT = "Try again with the device that is meant, and its PIN, fingerprint or face.";

export function refusalOf(error, nothing) {
  return error.name === "NotAllowedError" ? `${nothing}: ${REFUSED}. ${NEXT}` : error.message;
}
