# OpenWrt, in a shell on the router. Its dnsmasq reads /etc/dnsmasq.conf besides what uci says.
# The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up
cat >>/etc/dnsmasq.conf <<'DISKGATE'
dhcp-userclass=set:ipxe,iPXE
dhcp-match=set:bios,option:client-arch,0
dhcp-match=set:efi64,option:client-arch,7
dhcp-match=set:efi64,option:client-arch,9
dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe,,10.77.0.1
dhcp-boot=tag:!ipxe,tag:efi64,snponly.efi,,10.77.0.1
dhcp-boot=tag:ipxe,http://10.77.0.1:8080/boot/${netX/mac},,10.77.0.1
DISKGATE
/etc/init.d/dnsmasq restart
