import { expect, it } from "vitest";
import type { TestAgent } from "../harness/agent.ts";
import { passes, passesAtRest } from "./passes.ts";

const pass = (actions: number, milliseconds = 7) =>
  `{"level":20,"actions":${actions},"milliseconds":${milliseconds},"msg":"…"}\n`;

it("reads the agent's lines among those of other programs, except an incomplete one", () => {
  const stack = 'Error: x\n    at y {\n  code: "EIO"\n}\n{ broken }\n';
  const log = `${pass(3)}${stack}${pass(0, 9)}${pass(0).slice(0, -2)}`;
  expect(passes({ log })).toMatchObject([{ actions: 3 }, { actions: 0, milliseconds: 9 }]);
});

it("waits while reconciles are logged, and returns the durations of the idle ones", async () => {
  const agent = { log: "", hasEnded: false };
  const lines = [pass(1000), '{"msg":"attached"}\n', pass(0, 5), pass(2), pass(0, 6)];
  const timer = setInterval(() => {
    agent.log += lines.shift() ?? "";
  }, 1);
  try {
    expect(await passesAtRest(agent as TestAgent, 2)).toEqual([5, 6]);
  } finally {
    clearInterval(timer);
  }
});

it("fails if the agent exits, with its log", async () => {
  const agent = { log: `${pass(0)}out of memory\n`, hasEnded: true };
  await expect(passesAtRest(agent as TestAgent, 2)).rejects.toThrow("out of memory");
});

it("fails if the agent never becomes idle", async () => {
  const agent = { log: pass(1).repeat(201), hasEnded: false };
  await expect(passesAtRest(agent as TestAgent, 2)).rejects.toThrow(
    "no rest after 201 passes; the last ones had 1,1 actions",
  );
});
