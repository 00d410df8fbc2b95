import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["{l2tp,datapath,operator,cni,cli,rpc}/**/*.test.ts"] } },
    ],
  },
});
