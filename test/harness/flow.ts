/**
 * One end of a TCP flow that runs until it is killed: flow.ts listen|connect receive|send ADDRESS PORT. The receiver
 * writes lines with the number of bytes received so far.
 */
import { connect, createServer, type Socket } from "node:net";

const [side, role, address = "", port = ""] = process.argv.slice(2);
const CHUNK = Buffer.alloc(1 << 16, 7);
/** The sender pauses to leave processor time to others. */
const PAUSE_MS = 3;
const REPORT_MS = 50;

function take(socket: Socket): void {
  socket.on("error", () => process.exit());
  if (role === "receive") {
    let bytes = 0;
    socket.on("data", (data) => {
      bytes += data.length;
    });
    setInterval(() => console.log(`${bytes}`), REPORT_MS);
  } else void send(socket);
}

async function send(socket: Socket): Promise<void> {
  for (;;) {
    const isRoomy = socket.write(CHUNK);
    if (!isRoomy) await new Promise((resolve) => socket.once("drain", resolve));
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

if (side === "listen") {
  createServer(take).listen(Number(port), address, () => console.log("listening"));
} else take(connect(Number(port), address, () => console.log("connected")));
