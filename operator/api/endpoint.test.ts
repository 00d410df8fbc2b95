import { expect, it } from "vitest";
import { endpointOf } from "./endpoint.ts";

it.each([
  ["UDP", { address: "192.0.2.1" }, { address: "192.0.2.1", port: 1701 }],
  ["UDP", { address: "192.0.2.1", port: 5000 }, { address: "192.0.2.1", port: 5000 }],
  ["IP", { address: "2001:DB8:0::1" }, { address: "2001:db8::1", port: 0 }],
] as const)("completes an endpoint of a tunnel over %s: %j", (encapsulation, end, endpoint) => {
  expect(endpointOf({ encapsulation }, end)).toEqual(endpoint);
});
