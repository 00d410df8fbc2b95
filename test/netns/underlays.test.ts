import { testUnderlays } from "../harness/underlays.ts";

testUnderlays({ datapath: "Userspace" }, false);
