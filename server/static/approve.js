// The page on which a person reads a waiting request and signs it with a passkey. The address holds the request and the daemon's token behind
// its #, which no browser sends anywhere; both are taken out of the address as soon as they are read.

import { askFor, assertionOf, challengeOf, hexOf, obstacleHere, refusalOf } from "/static/signing.js";

const part = (id) => document.getElementById(id);

function say(text, tone = "") {
  part("said").textContent = text;
  part("act").dataset.tone = tone;
}

const given = new URLSearchParams(location.hash.slice(1));
history.replaceState(null, "", location.pathname);
const headers = { authorization: `Bearer ${given.get("token")}`, "content-type": "application/json" };

async function call(path, body) {
  const options = body === undefined ? { headers } : { headers, method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(path, options).then((response) => response.json()).catch(() => {
    throw new Error("The daemon gave no answer. See how the request stands: print this page's address again with `modelsmith approve REQUEST --page`.");
  });
  if (answer.error) throw new Error(`${answer.error.message} ${answer.error.next_step}`);
  return answer;
}

// Each line of the statement stands on its own, so that one that is too long for the page goes on indented; the text stays the same.
function linesOf(statement) {
  return statement.split(/(?<=\n)/).map((text) => Object.assign(document.createElement("span"), { textContent: text }));
}

async function show(shown) {
  const { request, statement } = shown;
  const challenge = await challengeOf(statement);
  const texts = {
    meaning: JSON.parse(statement).meaning, name: request.request, asked: request.asked_by, needs: request.needs, signed: namesOf(request),
    expires: `${request.expires_at.slice(0, 10)}, ${request.expires_at.slice(11, 16)} UTC`, how: shown.how_to_sign,
    challenge: hexOf(challenge).slice(0, 8), digest: shown.evidence,
  };
  for (const [id, text] of Object.entries(texts)) part(id).textContent = text;
  part("statement").replaceChildren(...linesOf(statement));
  part("evidence").href = `/evidence/${shown.evidence}`;
  part("request").hidden = false;
  part("offer").hidden = false;
  part("sign").onclick = () => ask(shown, challenge);
  const problem = obstacle(shown);
  part("sign").disabled = problem !== "";
  say(problem || "Read the evidence and what is signed, then sign.", problem && "bad");
}

function namesOf(request) {
  return request.signed_by.join(", ") || "nobody yet";
}

function obstacle({ request, credentials, evidence_kept: kept }) {
  if (request.status !== "waiting") return `This request waits no longer: ${request.status}.`;
  if (!kept) return "The evidence that it names is not kept here as it was made. Ask for the promotion again.";
  if (!credentials.length) return `The approver list has no passkey of somebody who may approve this: ${request.needs}.`;
  return obstacleHere();
}

// The button waits while the device is asked: a second question would end the first.
async function ask(shown, challenge) {
  part("sign").disabled = true;
  say("Confirm on your device.");
  try {
    await sign(shown, challenge);
  } catch (error) {
    say(refusalOf(error, "Nothing was signed"), "bad");
    part("sign").disabled = false;
    part("sign").focus();
  }
}

async function sign(shown, challenge) {
  const credential = await navigator.credentials.get({ publicKey: askFor(shown, challenge, location.hostname) });
  const request = shown.request.request;
  const answer = await call("/api/v1/tools/approve_promotion", { request, signature: assertionOf(credential), by: "page" });
  part("signed").textContent = namesOf(answer.request);
  part("offer").hidden = true;
  say(answer.summary, "good");
}

// The address of another request, put in where this one's stood, changes only what is behind the #, for which no browser opens a page anew.
addEventListener("hashchange", () => location.reload());

say("Loading the request.");
if (!given.get("token")) say("The address lacks what opens the page: print it again with `modelsmith approve REQUEST --page`.", "bad");
else call(`/api/v1/signing/${encodeURIComponent(given.get("request"))}`).then(show).catch((error) => say(error.message, "bad"));
