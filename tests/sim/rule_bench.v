// Plays what a file says on the ports that rules watch: a line a cycle, hexadecimal.
//   aresetn awaddr awvalid awready wdata wstrb wvalid wready bresp bvalid bready
//   araddr arvalid arready rdata rresp rvalid rready
//   weights: tkeep tlast tvalid tready   acts: the same   results: tdata tkeep tlast tuser tvalid tready
module bench #(
    parameter BUS_BYTES = 4
) (
    input wire aclk
);
    localparam COUNT = 32;
    integer file, found, at;
    reg [31:0] value;
    reg [31:0] in [0:COUNT-1];
    initial begin
        file = $fopen("trace.txt", "r");
        for (at = 0; at < COUNT; at = at + 1) in[at] = 0;
    end
    always @(posedge aclk)
        for (at = 0; at < COUNT; at = at + 1) begin
            found = $fscanf(file, "%h", value);
            if (found != 1) $finish;
            in[at] <= value;
        end
    protocol #(.BUS_BYTES(BUS_BYTES)) rules (
        .aclk(aclk), .aresetn(in[0][0]),
        .s_axil_awaddr(in[1][7:0]), .s_axil_awprot(3'b0), .s_axil_awvalid(in[2][0]),
        .s_axil_awready(in[3][0]), .s_axil_wdata(in[4]), .s_axil_wstrb(in[5][3:0]),
        .s_axil_wvalid(in[6][0]), .s_axil_wready(in[7][0]), .s_axil_bresp(in[8][1:0]),
        .s_axil_bvalid(in[9][0]), .s_axil_bready(in[10][0]),
        .s_axil_araddr(in[11][7:0]), .s_axil_arprot(3'b0), .s_axil_arvalid(in[12][0]),
        .s_axil_arready(in[13][0]), .s_axil_rdata(in[14]), .s_axil_rresp(in[15][1:0]),
        .s_axil_rvalid(in[16][0]), .s_axil_rready(in[17][0]),
        .s_axis_weights_tdata(0), .s_axis_weights_tkeep(in[18][BUS_BYTES-1:0]),
        .s_axis_weights_tlast(in[19][0]), .s_axis_weights_tvalid(in[20][0]),
        .s_axis_weights_tready(in[21][0]),
        .s_axis_acts_tdata(0), .s_axis_acts_tkeep(in[22][BUS_BYTES-1:0]),
        .s_axis_acts_tlast(in[23][0]), .s_axis_acts_tvalid(in[24][0]),
        .s_axis_acts_tready(in[25][0]),
        .m_axis_results_tdata(in[26]), .m_axis_results_tkeep(in[27][BUS_BYTES-1:0]),
        .m_axis_results_tlast(in[28][0]), .m_axis_results_tuser(in[29][0]),
        .m_axis_results_tvalid(in[30][0]), .m_axis_results_tready(in[31][0])
    );
endmodule
