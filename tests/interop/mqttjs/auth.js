// auth.js URL NAME METHOD SECRET: enhanced authentication (MQTT 5.0 section 4.12) at the broker with
// the plugin of challenge.c, again while connected, and a message to itself. Prints the challenges
// that came each time, what the CONNACK said, and the message; or the code of a refusal.

import mqtt from "mqtt";

const CONTINUE = 0x18;
const AGAIN = 0x19;

const [url, name, authenticationMethod, secret] = process.argv.slice(2);
const key = Buffer.from(secret);

function answer(challenge) {
  return Buffer.from(challenge.map((byte, at) => byte ^ key[at % key.length]));
}

const heard = [];
let authenticated;
const client = mqtt.connect(url, {
  protocolVersion: 5,
  clientId: name,
  reconnectPeriod: 0,
  properties: { authenticationMethod },
});
client.handleAuth = (packet, callback) => {
  const { authenticationData } = packet.properties;
  heard.push(authenticationData?.toString() ?? null);
  if (packet.reasonCode === 0) {
    callback();
    authenticated();
    return;
  }
  const properties = { authenticationMethod, authenticationData: answer(authenticationData) };
  callback(null, { cmd: "auth", reasonCode: CONTINUE, properties });
};

/** What has come since it was last asked. */
function challenges() {
  return heard.splice(0);
}

const outcome = new Promise((resolve) => {
  client.once("error", ({ code, message }) => resolve({ code, message }));
  client.once("close", () => resolve({ code: null }));
  client.once("connect", ({ properties }) => resolve({ properties }));
});
const { code, properties } = await outcome;
if (!properties) {
  console.log(JSON.stringify({ refused: code, first: challenges() }));
  process.exit();
}
const first = challenges();

const done = new Promise((resolve) => (authenticated = resolve));
// There is no public call for it.
client._sendPacket({ cmd: "auth", reasonCode: AGAIN, properties: { authenticationMethod } });
await done;

const message = new Promise((resolve) => client.once("message", (_, text) => resolve(`${text}`)));
await client.subscribeAsync(name, { qos: 1 });
await client.publishAsync(name, "hello", { qos: 1 });
const welcome = properties.authenticationData?.toString();
console.log(JSON.stringify({ first, welcome, again: challenges(), message: await message }));
await client.endAsync();
