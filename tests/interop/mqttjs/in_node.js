// in_node.js URL VERSION QOS NAME: prints the messages that came back, as JSON.

import { echo } from "./echo.js";

const [url, version, qos, name] = process.argv.slice(2);
console.log(JSON.stringify(await echo(url, Number(version), Number(qos), name)));
