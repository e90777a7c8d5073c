// The page on which a person makes a passkey. Nothing is sent: what is shown goes to an approver, who signs it into the list.

import { askToMake, recordOf } from "/static/signing.js";

const part = (id) => document.getElementById(id);

async function make() {
  const name = part("name").value.trim() || "approver";
  const random = crypto.getRandomValues(new Uint8Array(32));
  const credential = await navigator.credentials.create({ publicKey: askToMake(name, random, location.hostname) });
  part("record").textContent = JSON.stringify(recordOf(credential, location.hostname, location.origin), null, 1);
  part("how").textContent = `modelsmith approvers add ${name} --passkey passkey.json --key PATH`;
  part("made").hidden = false;
  part("said").textContent = "Made.";
}

part("make").onclick = () => make().catch((error) => { part("said").textContent = error.message; });
if (location.hostname !== "localhost") part("said").textContent = `Open this page as http://localhost:${location.port}/passkey: passkeys need a name.`;
