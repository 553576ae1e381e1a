// Cells of a slice of Lattice ECP5 as the generated Verilog uses them, for simulation. Netlists take
// those of yosys.
//
// Ports, parameters and pin orders are those of yosys' black boxes and of its own mapping to these
// cells. The documents named below describe the modes; the models have not been checked against
// them line by line, nor against a device. Modes that the generator never asks for are refused at
// the start of a simulation, not guessed. No vendor code.

// Flip-flop of a slice (FPGA-DS-02012, slice: register, clock enable and local set/reset).
// CEMUX "1" and LSRMUX "LSR" with LSR low only: always enabled, never reset. Latency 1.
module TRELLIS_FF #(
    parameter GSR = "ENABLED",
    parameter CEMUX = "1",
    parameter CLKMUX = "CLK",
    parameter LSRMUX = "LSR",
    parameter REGSET = "RESET"
) (
    input CLK, LSR, DI,
    output reg Q
);
  initial
    if (CEMUX != "1" || CLKMUX != "CLK" || LSRMUX != "LSR")
      $fatal(1, "TRELLIS_FF: mode not modelled");
  always @(posedge CLK) Q <= LSR ? REGSET == "SET" : DI;
endmodule

// Look-up table of a slice (FPGA-DS-02012, slice: logic mode): the input pins are the number of a bit
// of INIT, A the lowest. No latency.
module LUT4 #(
    parameter [15:0] INIT = 0
) (
    input A, B, C, D,
    output Z
);
  assign Z = INIT[{D, C, B, A}];
endmodule

// Two bits of a carry chain (FPGA-DS-02012, ripple mode of a slice). Each bit has a look-up table
// of four inputs, its sum without carry; where that is 0, the carry that leaves is what the
// table's lower two inputs alone give. No latency.
module CCU2C #(
    parameter [15:0] INIT0 = 0,
    parameter [15:0] INIT1 = 0,
    parameter INJECT1_0 = "YES",
    parameter INJECT1_1 = "YES"
) (
    input CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    output S0, S1, COUT
);
  initial
    if (INJECT1_0 != "NO" || INJECT1_1 != "NO") $fatal(1, "CCU2C: mode not modelled");
  wire sum_0 = INIT0[{D0, C0, B0, A0}];
  wire sum_1 = INIT1[{D1, C1, B1, A1}];
  wire carry_0 = sum_0 ? CIN : INIT0[{2'b00, B0, A0}];
  assign S0 = sum_0 ^ CIN;
  assign S1 = sum_1 ^ carry_0;
  assign COUT = sum_1 ? carry_0 : INIT1[{2'b00, B1, A1}];
endmodule
