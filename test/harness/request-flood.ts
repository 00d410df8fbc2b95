/**
 * Requests a page without pause over many connections, until it is stopped: request-flood.ts URL CONNECTIONS. Prints
 * "flooding" after the first response. With "serve PORT" it is the server of such a page, and prints "serving".
 */
import { createServer, get } from "node:http";

const [what = "", count] = process.argv.slice(2);

function ask(url: string): void {
  const again = () => setImmediate(ask, url);
  const request = get(url, { agent: false }, (response) => {
    response.resume().once("close", again);
    if (!answered) console.log("flooding");
    answered = true;
  });
  request.once("error", again);
}

let answered = false;
if (what === "serve") {
  const server = createServer((_request, response) => response.end("x".repeat(100_000)));
  server.listen(Number(count), () => console.log("serving"));
} else for (let i = 0; i < Number(count); i++) ask(what);
