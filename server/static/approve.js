// The page on which a person reads a waiting request and signs it with a passkey. The address holds the request and the daemon's token behind
// its #, which no browser sends anywhere; both are taken out of the address as soon as they are read.

import { askFor, assertionOf, challengeOf, hexOf } from "/static/signing.js";

const part = (id) => document.getElementById(id);
const say = (text) => { part("said").textContent = text; };

const given = new URLSearchParams(location.hash.slice(1));
history.replaceState(null, "", location.pathname);
const headers = { authorization: `Bearer ${given.get("token")}`, "content-type": "application/json" };

async function call(path, body) {
  const options = body === undefined ? { headers } : { headers, method: "POST", body: JSON.stringify(body) };
  const answer = await (await fetch(path, options)).json();
  if (answer.error) throw new Error(`${answer.error.message} ${answer.error.next_step}`);
  return answer;
}

async function show(shown) {
  const { request, statement } = shown;
  const challenge = await challengeOf(statement);
  const texts = {
    meaning: JSON.parse(statement).meaning, name: request.request, asked: request.asked_by, needs: request.needs, statement,
    signed: request.signed_by.join(", ") || "nobody yet", expires: request.expires_at, how: shown.how_to_sign, challenge: hexOf(challenge).slice(0, 8),
    digest: shown.evidence,
  };
  for (const [id, text] of Object.entries(texts)) part(id).textContent = text;
  part("evidence").href = `/evidence/${shown.evidence}`;
  part("request").hidden = false;
  part("sign").onclick = () => sign(shown, challenge).catch((error) => say(error.message));
  const problem = obstacle(shown);
  part("sign").disabled = problem !== "";
  say(problem || "Read the evidence and what is signed, then sign.");
}

function obstacle({ request, credentials, evidence_kept: kept }) {
  if (request.status !== "waiting") return `This request waits no longer: ${request.status}.`;
  if (!kept) return "The evidence that it names is not kept here as it was made. Ask for the promotion again.";
  return credentials.length ? "" : `The approver list has no passkey of somebody who may approve this: ${request.needs}.`;
}

async function sign(shown, challenge) {
  say("Confirm on your device.");
  const credential = await navigator.credentials.get({ publicKey: askFor(shown, challenge, location.hostname) });
  const request = shown.request.request;
  const answer = await call("/api/v1/tools/approve_promotion", { request, signature: assertionOf(credential), by: "page" });
  part("sign").disabled = true;
  say(answer.summary);
}

if (!given.get("token")) say("The address lacks what opens the page: print it again with `modelsmith approve REQUEST --page`.");
else call(`/api/v1/signing/${encodeURIComponent(given.get("request"))}`).then(show).catch((error) => say(error.message));
