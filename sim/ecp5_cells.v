// Lattice ECP5 cells as the generated Verilog uses them, for simulation.
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

// Multiplier of 18 x 18 bits (FPGA-TN-02205, MULT18X18D: port and attribute tables). Registers at
// the factors, inside, and at the product, each present if its REG_..._CLK is CLK0; each adds a
// cycle, and all obey CE0 and RST0, synchronously. SIGNEDA and SIGNEDB are held constant, so their
// own registers are left out; SOURCEA and SOURCEB low: factors from the fabric.
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", parameter REG_INPUTA_CE = "CE0",
    parameter REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", parameter REG_INPUTB_CE = "CE0",
    parameter REG_INPUTB_RST = "RST0",
    parameter REG_PIPELINE_CLK = "NONE", parameter REG_PIPELINE_CE = "CE0",
    parameter REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE", parameter REG_OUTPUT_CE = "CE0",
    parameter REG_OUTPUT_RST = "RST0",
    parameter GSR = "ENABLED"
) (
    input
        A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
        B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output
        P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18, P19,
        P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  wire [17:0] a = {
      A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {
      B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  reg [17:0] a_q, b_q;
  reg [35:0] inner_q, product_q;
  wire [17:0] a_in = REG_INPUTA_CLK == "NONE" ? a : a_q;
  wire [17:0] b_in = REG_INPUTB_CLK == "NONE" ? b : b_q;
  wire [35:0] inner = {{18{SIGNEDA & a_in[17]}}, a_in} * {{18{SIGNEDB & b_in[17]}}, b_in};
  wire [35:0] to_output = REG_PIPELINE_CLK == "NONE" ? inner : inner_q;
  wire [35:0] product = REG_OUTPUT_CLK == "NONE" ? to_output : product_q;
  initial begin
    if ((REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0")
        || (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0")
        || (REG_PIPELINE_CLK != "NONE" && REG_PIPELINE_CLK != "CLK0")
        || (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0"))
      $fatal(1, "MULT18X18D: clock not modelled");
    if (REG_INPUTA_CE != "CE0" || REG_INPUTB_CE != "CE0" || REG_PIPELINE_CE != "CE0"
        || REG_OUTPUT_CE != "CE0" || REG_INPUTA_RST != "RST0" || REG_INPUTB_RST != "RST0"
        || REG_PIPELINE_RST != "RST0" || REG_OUTPUT_RST != "RST0")
      $fatal(1, "MULT18X18D: enable or reset not modelled");
  end
  always @(posedge CLK0) begin
    if (SOURCEA || SOURCEB) $fatal(1, "MULT18X18D: source not modelled");
    if (CE0) begin
      a_q <= a;
      b_q <= b;
      inner_q <= inner;
      product_q <= to_output;
    end
    if (RST0) begin
      a_q <= 0;
      b_q <= 0;
      inner_q <= 0;
      product_q <= 0;
    end
  end
  assign {
      P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
      P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = product;
endmodule

// Block memory of 18 Kbit (FPGA-TN-02204, DP16KD and PDPW16KD: port and attribute tables;
// FPGA-DS-02012, sysMEM block configurations). Both ports have the same width of 1, 2, 4, 9, 18 or
// 36 bits and the same clock; A writes, B reads. Addresses stand at the upper end of the pins; at
// widths 18 and 36 ADA0 to ADA3 enable bytes of 9 bits, and at width 36 the data pins of A and B
// are the lower and the upper half. A read takes CEB, then its output register (REGMODE "OUTREG")
// OCEB: latency 2. A word that is read in the cycle of its write is undefined; here it is the
// complement of the old one.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC",
    parameter CSDECODE_A = "0b000", parameter CSDECODE_B = "0b000",
    parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL",
    parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB", parameter GSR = "ENABLED"
) (
    input 
        ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input 
        ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input 
        DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13,
        DIA14, DIA15, DIA16, DIA17,
    input 
        DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13,
        DIB14, DIB15, DIB16, DIB17,
    input CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2,
    input CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2,
    output
        DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13,
        DOA14, DOA15, DOA16, DOA17,
        DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13,
        DOB14, DOB15, DOB16, DOB17
);
  localparam WIDTH = DATA_WIDTH_A;
  localparam SKIP = WIDTH == 36 ? 5 : WIDTH == 18 ? 4 : WIDTH == 9 ? 3 : WIDTH == 4 ? 2
      : WIDTH == 2 ? 1 : 0;
  wire [13:0] ada = {
      ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] adb = {
      ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [35:0] data = {
      DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
      DIB3, DIB2, DIB1, DIB0,
      DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
      DIA3, DIA2, DIA1, DIA0};
  wire [3:0] bytes = WIDTH == 36 ? ada[3:0] : WIDTH == 18 ? {2'b00, ada[1:0]} : 4'b0001;
  wire [35:0] mask = {{9{bytes[3]}}, {9{bytes[2]}}, {9{bytes[1]}}, {9{bytes[0]}}};
  wire write = CEA && WEA;
  reg [WIDTH-1:0] words [0:(16384 >> SKIP)-1];
  reg [WIDTH-1:0] word, word_q;
  initial begin
    if (DATA_WIDTH_A != DATA_WIDTH_B) $fatal(1, "DP16KD: two widths are not modelled");
    if (REGMODE_A != "OUTREG" || REGMODE_B != "OUTREG" || RESETMODE != "SYNC"
        || CSDECODE_A != "0b000" || CSDECODE_B != "0b000"
        || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
      $fatal(1, "DP16KD: mode not modelled");
  end
  always @(posedge CLKA) begin
    if (RSTA || RSTB || WEB || CSA0 || CSA1 || CSA2 || CSB0 || CSB1 || CSB2)
      $fatal(1, "DP16KD: reset, second write port and chip select are not modelled");
    if (WIDTH == 36 && OCEA != OCEB) $fatal(1, "DP16KD: halves of a word enabled apart");
    if (write)
      words[ada >> SKIP] <= (words[ada >> SKIP] & ~mask[WIDTH-1:0])
          | (data[WIDTH-1:0] & mask[WIDTH-1:0]);
    if (CEB)
      word <= write && ada >> SKIP == adb >> SKIP ? ~words[adb >> SKIP] : words[adb >> SKIP];
    if (OCEB) word_q <= word;
  end
  wire [35:0] out = WIDTH == 36 ? word_q : {word_q, 18'b0};
  assign {
      DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
      DOB3, DOB2, DOB1, DOB0,
      DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
      DOA3, DOA2, DOA1, DOA0} = out;
endmodule
