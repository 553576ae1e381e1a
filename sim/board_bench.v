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

// Rules of the unit's ports, see protocol.sv; here they are wires between it and the link.
bind sparseloom_board
    protocol #(.BUS_BYTES($bits(weights__payload) / 9)) rules (
        .aclk(clk), .aresetn(~rst & ~unit_reset),
        .s_axil_awaddr(bus__awaddr), .s_axil_awprot(3'b0), .s_axil_awvalid(bus__awvalid),
        .s_axil_awready(bus__awready), .s_axil_wdata(bus__wdata), .s_axil_wstrb(bus__wstrb),
        .s_axil_wvalid(bus__wvalid), .s_axil_wready(bus__wready), .s_axil_bresp(bus__bresp),
        .s_axil_bvalid(bus__bvalid), .s_axil_bready(bus__bready), .s_axil_araddr(bus__araddr),
        .s_axil_arprot(3'b0), .s_axil_arvalid(bus__arvalid), .s_axil_arready(bus__arready),
        .s_axil_rdata(bus__rdata), .s_axil_rresp(bus__rresp), .s_axil_rvalid(bus__rvalid),
        .s_axil_rready(bus__rready),
        .s_axis_weights_tdata(weights__payload[$bits(weights__payload) / 9 * 8 - 1:0]),
        .s_axis_weights_tkeep(
            weights__payload[$bits(weights__payload) - 2:$bits(weights__payload) / 9 * 8]),
        .s_axis_weights_tlast(weights__payload[$bits(weights__payload) - 1]),
        .s_axis_weights_tvalid(weights__valid), .s_axis_weights_tready(weights__ready),
        .s_axis_acts_tdata(acts__payload[$bits(weights__payload) / 9 * 8 - 1:0]),
        .s_axis_acts_tkeep(
            acts__payload[$bits(weights__payload) - 2:$bits(weights__payload) / 9 * 8]),
        .s_axis_acts_tlast(acts__payload[$bits(weights__payload) - 1]),
        .s_axis_acts_tvalid(acts__valid), .s_axis_acts_tready(acts__ready),
        .m_axis_results_tdata(results__payload[$bits(weights__payload) / 9 * 8 - 1:0]),
        .m_axis_results_tkeep(
            results__payload[$bits(weights__payload) - 2:$bits(weights__payload) / 9 * 8]),
        .m_axis_results_tlast(results__payload[$bits(weights__payload) - 1]),
        .m_axis_results_tuser(results__payload[$bits(weights__payload)]),
        .m_axis_results_tvalid(results__valid), .m_axis_results_tready(results__ready));
