// aedes.js PORT: the broker aedes, until it is stopped.

import { createServer } from "node:net";

import { Aedes } from "aedes";

// The default, 60 s, is how long it may take to notice that a client's keep alive has run out.
const broker = await Aedes.createBroker({ heartbeatInterval: 2000 });
createServer(broker.handle).listen(Number(process.argv[2]), "127.0.0.1");
