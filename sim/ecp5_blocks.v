// Multiplier and block memory of Lattice ECP5, for simulation of the generated Verilog and of
// netlists, also where yosys infers them.
//
// Ports, parameters and pin orders are those of yosys' black boxes and of its own mapping to these
// cells. The documents named below describe the modes; the models have not been checked against
// them line by line, nor against a device. Modes that neither the generator nor yosys asks for are
// refused, not guessed. No vendor code.

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
    input
        C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
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
// 36 bits and the same clock, and either writes and reads; at width 36 A writes and B reads, and
// the data pins of A and B are the lower and the upper half. Addresses stand at the upper end of
// the pins; at widths 18 and 36 the lowest ones enable bytes of 9 bits. A read takes CE, and
// latency 1; with an output register (REGMODE "OUTREG") that takes OCE, and latency 2. A word that
// is read in the cycle of its write by the other port is undefined; here it is the complement of
// the old one. The port that writes keeps what it read before (WRITEMODE "NORMAL") or reads the
// old word ("READBEFOREWRITE"). Resets are refused, so that RESETMODE says nothing.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC",
    parameter CSDECODE_A = "0b000", parameter CSDECODE_B = "0b000",
    parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL",
    parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB", parameter GSR = "ENABLED",
    parameter [319:0] INITVAL_00 = 0, parameter [319:0] INITVAL_01 = 0,
    parameter [319:0] INITVAL_02 = 0, parameter [319:0] INITVAL_03 = 0,
    parameter [319:0] INITVAL_04 = 0, parameter [319:0] INITVAL_05 = 0,
    parameter [319:0] INITVAL_06 = 0, parameter [319:0] INITVAL_07 = 0,
    parameter [319:0] INITVAL_08 = 0, parameter [319:0] INITVAL_09 = 0,
    parameter [319:0] INITVAL_0A = 0, parameter [319:0] INITVAL_0B = 0,
    parameter [319:0] INITVAL_0C = 0, parameter [319:0] INITVAL_0D = 0,
    parameter [319:0] INITVAL_0E = 0, parameter [319:0] INITVAL_0F = 0,
    parameter [319:0] INITVAL_10 = 0, parameter [319:0] INITVAL_11 = 0,
    parameter [319:0] INITVAL_12 = 0, parameter [319:0] INITVAL_13 = 0,
    parameter [319:0] INITVAL_14 = 0, parameter [319:0] INITVAL_15 = 0,
    parameter [319:0] INITVAL_16 = 0, parameter [319:0] INITVAL_17 = 0,
    parameter [319:0] INITVAL_18 = 0, parameter [319:0] INITVAL_19 = 0,
    parameter [319:0] INITVAL_1A = 0, parameter [319:0] INITVAL_1B = 0,
    parameter [319:0] INITVAL_1C = 0, parameter [319:0] INITVAL_1D = 0,
    parameter [319:0] INITVAL_1E = 0, parameter [319:0] INITVAL_1F = 0,
    parameter [319:0] INITVAL_20 = 0, parameter [319:0] INITVAL_21 = 0,
    parameter [319:0] INITVAL_22 = 0, parameter [319:0] INITVAL_23 = 0,
    parameter [319:0] INITVAL_24 = 0, parameter [319:0] INITVAL_25 = 0,
    parameter [319:0] INITVAL_26 = 0, parameter [319:0] INITVAL_27 = 0,
    parameter [319:0] INITVAL_28 = 0, parameter [319:0] INITVAL_29 = 0,
    parameter [319:0] INITVAL_2A = 0, parameter [319:0] INITVAL_2B = 0,
    parameter [319:0] INITVAL_2C = 0, parameter [319:0] INITVAL_2D = 0,
    parameter [319:0] INITVAL_2E = 0, parameter [319:0] INITVAL_2F = 0,
    parameter [319:0] INITVAL_30 = 0, parameter [319:0] INITVAL_31 = 0,
    parameter [319:0] INITVAL_32 = 0, parameter [319:0] INITVAL_33 = 0,
    parameter [319:0] INITVAL_34 = 0, parameter [319:0] INITVAL_35 = 0,
    parameter [319:0] INITVAL_36 = 0, parameter [319:0] INITVAL_37 = 0,
    parameter [319:0] INITVAL_38 = 0, parameter [319:0] INITVAL_39 = 0,
    parameter [319:0] INITVAL_3A = 0, parameter [319:0] INITVAL_3B = 0,
    parameter [319:0] INITVAL_3C = 0, parameter [319:0] INITVAL_3D = 0,
    parameter [319:0] INITVAL_3E = 0, parameter [319:0] INITVAL_3F = 0
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
  wire [17:0] dia = {
      DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
      DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] dib = {
      DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
      DIB4, DIB3, DIB2, DIB1, DIB0};
  wire [13-SKIP:0] place_a = ada >> SKIP, place_b = adb >> SKIP;
  wire [35:0] data_a = WIDTH == 36 ? {dib, dia} : {18'b0, dia}, data_b = {18'b0, dib};
  wire [3:0] bytes_a = WIDTH == 36 ? ada[3:0] : WIDTH == 18 ? {2'b00, ada[1:0]} : 4'b0001;
  wire [3:0] bytes_b = WIDTH == 18 ? {2'b00, adb[1:0]} : 4'b0001;
  wire [35:0] mask_a = {{9{bytes_a[3]}}, {9{bytes_a[2]}}, {9{bytes_a[1]}}, {9{bytes_a[0]}}};
  wire [35:0] mask_b = {{9{bytes_b[3]}}, {9{bytes_b[2]}}, {9{bytes_b[1]}}, {9{bytes_b[0]}}};
  wire write_a = CEA && WEA, write_b = CEB && WEB, same = place_a == place_b;
  reg [WIDTH-1:0] words [0:(16384 >> SKIP)-1];
  reg [WIDTH-1:0] word_a, word_b, word_a_q, word_b_q;
  initial begin
    if (DATA_WIDTH_A != DATA_WIDTH_B) $fatal(1, "DP16KD: two widths are not modelled");
    if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000"
        || (WRITEMODE_A != "NORMAL" && WRITEMODE_A != "READBEFOREWRITE")
        || (WRITEMODE_B != "NORMAL" && WRITEMODE_B != "READBEFOREWRITE")
        || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
      $fatal(1, "DP16KD: mode not modelled");
    if (|{
          INITVAL_00, INITVAL_01, INITVAL_02, INITVAL_03, INITVAL_04, INITVAL_05, INITVAL_06,
          INITVAL_07, INITVAL_08, INITVAL_09, INITVAL_0A, INITVAL_0B, INITVAL_0C, INITVAL_0D,
          INITVAL_0E, INITVAL_0F, INITVAL_10, INITVAL_11, INITVAL_12, INITVAL_13, INITVAL_14,
          INITVAL_15, INITVAL_16, INITVAL_17, INITVAL_18, INITVAL_19, INITVAL_1A, INITVAL_1B,
          INITVAL_1C, INITVAL_1D, INITVAL_1E, INITVAL_1F, INITVAL_20, INITVAL_21, INITVAL_22,
          INITVAL_23, INITVAL_24, INITVAL_25, INITVAL_26, INITVAL_27, INITVAL_28, INITVAL_29,
          INITVAL_2A, INITVAL_2B, INITVAL_2C, INITVAL_2D, INITVAL_2E, INITVAL_2F, INITVAL_30,
          INITVAL_31, INITVAL_32, INITVAL_33, INITVAL_34, INITVAL_35, INITVAL_36, INITVAL_37,
          INITVAL_38, INITVAL_39, INITVAL_3A, INITVAL_3B, INITVAL_3C, INITVAL_3D, INITVAL_3E,
          INITVAL_3F}
        ) $fatal(1, "DP16KD: contents other than 0 are not modelled");
  end
  always @(posedge CLKA) begin
    if (RSTA || RSTB || CSA0 || CSA1 || CSA2 || CSB0 || CSB1 || CSB2)
      $fatal(1, "DP16KD: reset and chip select are not modelled");
    if (WIDTH == 36 && REGMODE_B == "OUTREG" && (OCEA != OCEB || REGMODE_A != "OUTREG"))
      $fatal(1, "DP16KD: halves of a word enabled apart");
    if (WIDTH == 36 && WEB) $fatal(1, "DP16KD: two ports of 36 bits are not modelled");
    if (write_a && write_b && same) $fatal(1, "DP16KD: a word is written by both ports");
    if (write_a)
      words[place_a] <= (words[place_a] & ~mask_a[WIDTH-1:0])
          | (data_a[WIDTH-1:0] & mask_a[WIDTH-1:0]);
    if (write_b)
      words[place_b] <= (words[place_b] & ~mask_b[WIDTH-1:0])
          | (data_b[WIDTH-1:0] & mask_b[WIDTH-1:0]);
    if (CEA && (!WEA || WRITEMODE_A == "READBEFOREWRITE"))
      word_a <= write_b && same ? ~words[place_a] : words[place_a];
    if (CEB && (!WEB || WRITEMODE_B == "READBEFOREWRITE"))
      word_b <= write_a && same ? ~words[place_b] : words[place_b];
    if (OCEA) word_a_q <= word_a;
    if (OCEB) word_b_q <= word_b;
  end
  // At width 36 the halves of B's word leave by the pins of both, each by its own register.
  wire [WIDTH-1:0] out_a = REGMODE_A == "NOREG" ? word_a : word_a_q;
  wire [WIDTH-1:0] out_b = REGMODE_B == "NOREG" ? word_b : word_b_q;
  wire [35:0] out = WIDTH == 36 ? out_b : {{18{1'b0}} | out_b, {18{1'b0}} | out_a};
  assign {
      DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
      DOB3, DOB2, DOB1, DOB0,
      DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
      DOA3, DOA2, DOA1, DOA0} = out;
endmodule
