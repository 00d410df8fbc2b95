/**
 * An API server without objects, as a program: lists are empty, watches send no events, and writes are
 * answered with the written object. Argument: the port at 127.0.0.1.
 */
import { createServer } from "node:https";
import { SERVER_CERT, SERVER_KEY } from "../../operator/kube/testdata.ts";

const LIST = JSON.stringify({ metadata: { resourceVersion: "1" }, items: [] });

const server = createServer({ key: SERVER_KEY, cert: SERVER_CERT }, (request, response) => {
  response.setHeader("content-type", "application/json");
  const isWatch = new URL(request.url ?? "", "https://any").searchParams.has("watch");
  if (request.method !== "GET") request.pipe(response);
  else if (isWatch) response.flushHeaders();
  else response.end(LIST);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
