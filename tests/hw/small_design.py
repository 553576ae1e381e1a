"""A design of a few cells with the names of a unit, for tests of the tools around it."""

SOURCES = {"sparseloom.v": """
module leaf(input clk, input [7:0] a, input [7:0] b, output reg [15:0] p);
  always @(posedge clk) p <= a * b;
endmodule
module \\sparseloom.unit.array (input clk, input [7:0] a, input [7:0] b, output [15:0] p);
  leaf cell_0_0 (.clk(clk), .a(a), .b(b), .p(p));
endmodule
module \\sparseloom.unit (input clk, input [7:0] a, input [7:0] b, output [15:0] p);
  reg [15:0] total;
  wire [15:0] q;
  \\sparseloom.unit.array  array (.clk(clk), .a(a), .b(b), .p(q));
  always @(posedge clk) total <= total + q;
  assign p = total;
endmodule
module sparseloom(input aclk, input [7:0] a, input [7:0] b, output [15:0] p);
  \\sparseloom.unit  unit (.clk(aclk), .a(a), .b(b), .p(p));
endmodule
""", "wrapper.v": """
module fit_wrapper(input clk, input serial_in, output reg serial_out);
  reg [15:0] shift_q;
  wire [15:0] p;
  reg [15:0] p_q;
  always @(posedge clk) begin
    shift_q <= {shift_q[14:0], serial_in};
    p_q <= p;
    serial_out <= ^p_q;
  end
  sparseloom core (.aclk(clk), .a(shift_q[7:0]), .b(shift_q[15:8]), .p(p));
endmodule
"""}
"""One 8 x 8 multiplier, one adder, 16 + 16 + 1 flip-flops of the wrapper."""
