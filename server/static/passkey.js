// The page on which a person makes a passkey. Nothing is sent: what is shown goes to an approver, who signs it into the list.

import { askToMake, obstacleHere, recordOf, refusalOf } from "/static/signing.js";

const part = (id) => document.getElementById(id);

function say(text, tone) {
  part("said").textContent = text;
  part("said").dataset.tone = tone;
}

async function make(name) {
  const random = crypto.getRandomValues(new Uint8Array(32));
  const credential = await navigator.credentials.create({ publicKey: askToMake(name, random, location.hostname) });
  const record = JSON.stringify(recordOf(credential, location.hostname, location.origin), null, 1);
  part("record").textContent = record;
  part("save").href = URL.createObjectURL(new Blob([record, "\n"], { type: "application/json" }));
  part("how").textContent = `modelsmith approvers add ${name} --passkey passkey.json --key PATH`;
  part("made").hidden = false;
  say("Made. It counts once an approver has signed it into the list.", "good");
}

part("ask").onsubmit = (event) => {
  event.preventDefault();
  part("make").disabled = true;
  say("Confirm on your device.", "");
  make(part("name").value)
    .catch((error) => say(refusalOf(error, "No passkey was made"), "bad"))
    .finally(() => { part("make").disabled = false; });
};

const problem = obstacleHere();
part("ask").hidden = false;
part("make").disabled = problem !== "";
say(problem, problem && "bad");
