// Top of a simulation of the board's design: its pins, and nothing else.
module bench #(
    parameter BUS_BYTES = 8
) (
    input        clk,
    input        button,
    input        rx,
    output       tx,
    output [7:0] lights
);
    sparseloom_board board (
        .clk(clk), .button(button), .rx(rx), .tx(tx), .lights(lights)
    );
endmodule
