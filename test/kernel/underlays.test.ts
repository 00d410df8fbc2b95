import { testUnderlays } from "../harness/underlays.ts";

testUnderlays({ datapath: "Kernel" }, true);
